-- Writes down which members get messages that an ended session left, before they are given to them: unless somebody else has
-- written another one meanwhile.
-- Atomic, so that two nodes that move the same messages on, one after the other has stalled or died, agree on one member.
-- KEYS: session keys (includes/session-keys.lua); HELD is not used
-- ARGV[1] history id (not used: the same arguments for all of a session's scripts)
-- ARGV[2] token of this call (not used: the same arguments for all of a session's scripts)
-- ARGV[3] client id (not used: the same arguments for all of a session's scripts)
-- ARGV[4] life
-- ARGV[5...] seq, the member that stood before ('' for none), the member wanted, of each
-- Reply: the member that stands now, of each; '' where the message is gone
-- Complexity: O(messages).
--- @include "session-keys"
--- @include "open-write"
--- @include "orphan-prefix"
open_write(COUNTS)
local prefix = orphan_prefix(ARGV[4])
local reply = {}
for index = 5, #ARGV, 3 do
  local field, stands = (prefix or '') .. ARGV[index], ''
  if prefix and redis.call('HEXISTS', ORPHANS, field) == 1 then
    stands = redis.call('HGET', ORPHANS, 'm' .. field) or ''
    if stands == ARGV[index + 1] then
      stands = ARGV[index + 2]
      redis.call('HSET', ORPHANS, 'm' .. field, stands)
    end
  end
  reply[#reply + 1] = stands
end
return reply
