-- Does what is due of a session that nobody holds: takes its will, ends it. The index of deadlines is only a hint: what
-- is due is judged here, in the store's time, and the index is put right.
-- Atomic, so that a will is taken once and a CONNECT at the same moment finds either the session or its end.
-- KEYS: session keys (includes/session-keys.lua); HELD is not used
-- ARGV[1] history id (not used: the same arguments for all of a session's scripts)
-- ARGV[2] token of this call
-- ARGV[3] client id
-- Reply: {ended life, wills taken {mid, will}, messages that went with it}
-- Complexity: O(1).
--- @include "store-time"
--- @include "session-keys"
--- @include "session-state"
--- @include "open-write"
--- @include "take-will"
--- @include "end-session"
--- @include "settle-deadline"
local token, client = ARGV[2], ARGV[3]

open_write(COUNTS)
local m = redis.call('HMGET', META, 's', 'i', 'd', 'u', 'm', 'k')
local life = unpack_state(m[1])
local answer = kept_answer(m[6], token)
if answer then
  local ended, discarded = read_end_answer(answer)
  return { ended, taken_wills(client), discarded }
end
if not life or m[2] ~= '' then
  redis.call('ZREM', DUE, client)
  return { 0, {}, 0 }
end
local ended, wills, discarded =
  settle_deadline(client, life, tonumber(m[3] or '0'), tonumber(m[4] or '0'), tonumber(m[5] or '0'), time_us())
if ended ~= '0' or #wills > 0 then keep_end_answer(token, ended, discarded) end
return { tonumber(ended), wills, discarded }
