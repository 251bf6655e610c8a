-- Lets go of a session whose owner is dead: expiry and will delay count from when that node was last
-- heard of: its last renewal, or its claim of the session.
-- Atomic and harmless to repeat: only a session that the dead node still holds is touched; what was taken or ended by a
-- run whose answer was lost is answered again.
-- KEYS: session keys (includes/session-keys.lua); HELD is of the dead node
-- ARGV[1] history id (not used: the same arguments for all of a session's scripts)
-- ARGV[2] token of this call
-- ARGV[3] client id
-- ARGV[4] incarnation of the dead node
-- ARGV[5] its last renewal, ms
-- Reply: {ended life, wills taken {mid, will}, messages that went with it}
-- Complexity: O(1).
--- @include "store-time"
--- @include "session-keys"
--- @include "session-state"
--- @include "open-write"
--- @include "take-will"
--- @include "last-heard"
--- @include "end-session"
--- @include "settle-deadline"
local NEVER = 4294967295
local token, client, incarnation, renewed = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

open_write(COUNTS)
local m = redis.call('HMGET', META, 's', 'i', 'x', 'm', 'k', 'w')
local life, epoch = unpack_state(m[1])
local answer = kept_answer(m[5], token)
if answer then
  local ended, discarded = read_end_answer(answer)
  return { ended, taken_wills(client), discarded }
end
if not life or m[2] ~= incarnation then
  redis.call('SREM', HELD, client)
  return { 0, {}, 0 }
end
local now = time_us()
local heard = last_heard_ms(renewed, epoch, m[6], math.floor(now / 1000))
local lasts = tonumber(m[3])
local expires = 0
if lasts ~= NEVER then expires = heard + lasts * 1000 end
local delay = will_delay_ms(client)
local will_due = delay and heard + delay or 0
local ended, wills, discarded = settle_deadline(client, life, expires, will_due, tonumber(m[4] or '0'), now)
-- Last: where damaged records fail what is above, the dead node holds the session still, and it is found again.
if ended == '0' then redis.call('HSET', META, 'i', '') end
redis.call('SREM', HELD, client)
ended, discarded = keep_end_answer(token, ended, discarded)
return { ended, wills, discarded }
