-- Removes messages that an ended session had left: other queues have them now, or they were given up.
-- Atomic, so that the counts of queued messages agree with what is there, however often it runs.
-- KEYS: session keys (includes/session-keys.lua); HELD is not used
-- ARGV[1] history id (not used: the same arguments for all of a session's scripts)
-- ARGV[2] token of this call (not used: the same arguments for all of a session's scripts)
-- ARGV[3] client id (not used: the same arguments for all of a session's scripts)
-- ARGV[4] life
-- ARGV[5...] seqs
-- Reply: how many were there
-- Complexity: O(seqs).
--- @include "session-keys"
--- @include "open-write"
--- @include "orphan-prefix"
open_write(COUNTS)
local prefix = orphan_prefix(ARGV[4])
if not prefix then return 0 end
local removed, bytes = 0, 0
for index = 5, #ARGV do
  local field = prefix .. ARGV[index]
  local size = redis.call('HSTRLEN', ORPHANS, field)
  if size > 0 then
    redis.call('HDEL', ORPHANS, field, 'm' .. field)
    removed, bytes = removed + 1, bytes + size
  end
end
redis.call('HINCRBY', COUNTS, 'q', 0 - removed)
redis.call('HINCRBY', COUNTS, 'w', 0 - bytes)
return removed
