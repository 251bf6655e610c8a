-- Makes or renews a node's lease and answers all leases. A tombstone is final: it is answered, and if its node had been
-- cleaned up after, that is to be done again, for who comes back may have claimed sessions with what it had prepared.
-- Atomic, so that whether the lease had lapsed is told by the renewal that ends the lapse.
-- KEYS[1] leases
-- ARGV[1] history id
-- ARGV[2] incarnation
-- ARGV[3] length of the lease, ms
-- ARGV[4] name of the node
-- ARGV[5...] incarnation and name of other nodes that lived: where the store has lost their leases it makes new ones
-- Reply: {now ms, 1 when the lease was over, leases as HGETALL}
-- Complexity: O(nodes).
--- @include "store-time"
--- @include "lease-record"
local KEEP_TOMBSTONE_MS = 86400000
local leases, history, incarnation, length = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])

redis.call('HDEL', leases, '')
local now = math.floor(time_us() / 1000)
local function new_lease(name) return { created = now, since = now, dead = 0, cleaned = '0', name = name } end
local function renew(name, lease)
  lease.history, lease.renewed, lease.deadline = history, now, now + length
  write_lease(leases, name, lease)
end
local lease = read_lease(leases, incarnation)
local has_lapsed = 0
if not lease then
  lease = new_lease(ARGV[4])
  -- A new node: the place where tombstones that served their time go.
  local all = redis.call('HKEYS', leases)
  for at = 1, #all do
    local other = read_lease(leases, all[at])
    if other and other.cleaned == '1' and other.dead + KEEP_TOMBSTONE_MS < now then redis.call('HDEL', leases, all[at]) end
  end
elseif lease.dead > 0 then
  has_lapsed = 1
  if lease.cleaned == '1' then
    lease.cleaned = '0'
    write_lease(leases, incarnation, lease)
  end
elseif lease.deadline < now then
  has_lapsed = 1
  lease.since = now
end
if lease.dead == 0 then
  if lease.history ~= history then lease.since = now end
  renew(incarnation, lease)
  for at = 5, #ARGV, 2 do
    if redis.call('HEXISTS', leases, ARGV[at]) == 0 then renew(ARGV[at], new_lease(ARGV[at + 1])) end
  end
end
return { now, has_lapsed, redis.call('HGETALL', leases) }
