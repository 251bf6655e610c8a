-- Present owner, epoch, life and tail of sessions, many in one call: nodes look at all their sessions now and then.
-- A script only to be one command; it writes nothing.
-- KEYS[1...] sessions
-- Reply: life (null: there is none), owner, epoch and tail of each
-- Complexity: O(sessions), bounded by the sender.
local reply, n = {}, 0
for at = 1, #KEYS do
  local m = redis.call('HMGET', KEYS[at], 'l', 'i', 'e', 't')
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = m[1], m[2], m[3], m[4]
  n = n + 4
end
return reply
