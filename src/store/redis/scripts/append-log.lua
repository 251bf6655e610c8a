-- Appends entries to the route log with rising versions, and keeps the appender's node routes for snapshots.
-- Atomic, so that the order of versions is the order of the entries and a snapshot of a node's routes agrees with the log.
-- A node that was declared dead adds no routes: its cleaner may have removed them already. Runs also when memory is full.
-- KEYS[1] log
-- KEYS[2] log state
-- KEYS[3] leases
-- KEYS[4] node routes of the appender
-- ARGV[1] incarnation of the appender
-- ARGV[2] highest version it has seen
-- ARGV[3] entries the log is trimmed to (about)
-- ARGV[4...] for each entry: payload, number of changes of node routes, filter and flags ('' removes) of each
-- Reply: version of each entry, 0 refused
-- Complexity: O(entries + changes), bounded by the sender.
--- @include "store-time"
--- @include "lease-record"
local log, state, leases, routes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
redis.call('HDEL', state, '')
local version = tonumber(redis.call('HGET', state, 'v') or '0')
local seen, now = tonumber(ARGV[2]), time_us()
local lease = read_lease(leases, ARGV[1])
local is_dead = lease and lease.dead > 0
local reply, at = {}, 4
while at <= #ARGV do
  local payload, changes = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  if changes > 0 and is_dead then
    reply[#reply + 1] = 0
  else
    for place = at, at + 2 * changes - 2, 2 do
      if ARGV[place + 1] == '' then
        redis.call('HDEL', routes, ARGV[place])
      else
        redis.call('HSET', routes, ARGV[place], ARGV[place + 1])
      end
    end
    local previous = version
    version = math.max(version + 1, seen + 1, now)
    redis.call('XADD', log, 'MAXLEN', '~', ARGV[3], digits(version) .. '-0', 'p', digits(previous), 'f', ARGV[1], 'd', payload)
    reply[#reply + 1] = version
  end
  at = at + 2 * changes
end
redis.call('HSET', state, 'v', digits(version))
return reply
