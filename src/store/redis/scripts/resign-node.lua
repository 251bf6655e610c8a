-- A node that stops cleanly writes its own tombstone.
-- Atomic with regard to bury-node.
-- KEYS[1] leases
-- ARGV[1] incarnation
-- Reply: 0
-- Complexity: O(1).
--- @include "store-time"
--- @include "lease-record"
redis.call('HDEL', KEYS[1], '')
local lease = read_lease(KEYS[1], ARGV[1])
if lease and lease.dead == 0 then
  local now = math.floor(time_us() / 1000)
  lease.dead, lease.renewed = now, now
  write_lease(KEYS[1], ARGV[1], lease)
end
return 0
