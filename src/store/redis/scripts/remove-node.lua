-- A dead node is cleaned up: its routes go and its tombstone says so. Its inbox has another slot and goes before this.
-- Atomic, so that a cleaned node has no routes.
-- KEYS[1] leases
-- KEYS[2] routes of the node
-- ARGV[1] incarnation
-- Reply: 0
-- Complexity: O(1).
--- @include "lease-record"
redis.call('HDEL', KEYS[1], '')
redis.call('UNLINK', KEYS[2])
local lease = read_lease(KEYS[1], ARGV[1])
if lease and lease.dead > 0 then
  lease.cleaned = '1'
  write_lease(KEYS[1], ARGV[1], lease)
end
return 0
