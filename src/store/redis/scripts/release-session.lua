-- The owner lets go of a session: after a DISCONNECT (the will is dropped) or an end without one (the will gets its due time).
-- Atomic, so that a will is dropped or due, and the session expires or stays, by the same step that gives it up. A
-- session that ends with its connection ends here. Where a claim came first, what is said of the end settles a will that
-- it has taken in doubt. A repetition answers what the first run did.
-- KEYS: session keys (includes/session-keys.lua); HELD is of the owner
-- ARGV[1] history id (not used: the same arguments for all of a session's scripts)
-- ARGV[2] token of this call
-- ARGV[3] client id
-- ARGV[4] incarnation
-- ARGV[5] epoch
-- ARGV[6] 1: drop the will
-- ARGV[7] expiry in seconds
-- ARGV[8] highest seq sent
-- Reply: {0, ended life, wills taken {mid, will}, messages that went with it} or {1} (fenced)
-- Complexity: O(1).
--- @include "store-time"
--- @include "session-keys"
--- @include "session-state"
--- @include "open-write"
--- @include "take-will"
--- @include "end-session"
--- @include "settle-deadline"
local NEVER = 4294967295
local token, client, incarnation = ARGV[2], ARGV[3], ARGV[4]

open_write(COUNTS)
local m = redis.call('HMGET', META, 's', 'i', 'm', 'k')
local life, epoch = unpack_state(m[1])
local answer = kept_answer(m[4], token)
if answer then
  local ended, discarded = read_end_answer(answer)
  return { 0, ended, taken_wills(client), discarded }
end
if not life or m[2] ~= incarnation or epoch ~= tonumber(ARGV[5]) then
  -- Its claim is over; the index of what this node holds must not keep the client when another one has it.
  if not life or m[2] ~= incarnation then redis.call('SREM', HELD, client) end
  settle_doubt(client, ARGV[5], ARGV[6] == '1')
  return { 1 }
end
local now = time_us()
local now_ms = math.floor(now / 1000)
local lasts = tonumber(ARGV[7])
if ARGV[6] == '1' then redis.call('HDEL', WILLS, client) end
local expires = 0
if lasts ~= NEVER then expires = now_ms + lasts * 1000 end
local delay = will_delay_ms(client)
local will_due = delay and now_ms + delay or 0
redis.call('HSET', META, 'x', ARGV[7], 'z', ARGV[8])
local ended, wills, discarded = settle_deadline(client, life, expires, will_due, tonumber(m[3] or '0'), now)
-- Last: where damaged records fail what is above, the session is held still, and the next attempt is not refused.
if ended == '0' then redis.call('HSET', META, 'i', '') end
redis.call('SREM', HELD, client)
ended, discarded = keep_end_answer(token, ended, discarded)
return { 0, ended, wills, discarded }
