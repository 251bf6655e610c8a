-- Declares a node dead. Refused unless its lease is over, the writer's own runs and has stood for two leases without a
-- lapse, under the history id that it has known that long: so an outage, a pause or a failover of Redis kills nobody,
-- because who comes back renews before anybody may judge.
-- Atomic, so that a renewal and a tombstone exclude each other.
-- KEYS[1] leases
-- ARGV[1] history id
-- ARGV[2] incarnation
-- ARGV[3] incarnation of the writer
-- ARGV[4] length of a lease, ms
-- Reply: 0 dead (also when it was before), 1 refused
-- Complexity: O(1).
--- @include "store-time"
--- @include "lease-record"
local leases = KEYS[1]
redis.call('HDEL', leases, '')
local now = math.floor(time_us() / 1000)
local lease, writer = read_lease(leases, ARGV[2]), read_lease(leases, ARGV[3])
if lease and lease.dead > 0 then return 0 end
if not lease or not writer or writer.dead > 0 then return 1 end
if lease.deadline >= now or writer.deadline < now then return 1 end
if writer.history ~= ARGV[1] or writer.since + 2 * tonumber(ARGV[4]) > now then return 1 end
lease.dead = now
write_lease(leases, ARGV[2], lease)
return 0
