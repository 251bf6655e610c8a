-- Present owner, epoch, life and tail of sessions, many in one call: nodes look at all their sessions now and then.
-- A script only to be one command; it writes nothing.
-- KEYS[1...] sessions
-- Reply: life (null: there is none), owner, epoch and tail of each
-- Complexity: O(sessions), bounded by the sender.
--- @include "session-state"
local reply, n = {}, 0
for at = 1, #KEYS do
  local m = redis.call('HMGET', KEYS[at], 's', 'i')
  local life, epoch, _, tail = unpack_state(m[1])
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = life or false, m[2], epoch or 0, tail or 0
  n = n + 4
end
return reply
