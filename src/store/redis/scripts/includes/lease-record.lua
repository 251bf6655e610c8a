-- A lease: when it was made, last renewed and ends, since when it has stood without a lapse or another history id, when
-- it was declared dead (0), whether the dead node is cleaned up, the history id, and the node's name. Times are ms.
local function read_lease(leases, incarnation)
  local text = redis.call('HGET', leases, incarnation)
  if not text then return nil end
  local created, renewed, deadline, since, dead, cleaned, history, name =
    string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d) (%S+) (.*)$')
  return {
    created = tonumber(created), renewed = tonumber(renewed), deadline = tonumber(deadline),
    since = tonumber(since), dead = tonumber(dead), cleaned = cleaned, history = history, name = name,
  }
end

local function write_lease(leases, incarnation, lease)
  redis.call('HSET', leases, incarnation, string.format('%.0f %.0f %.0f %.0f %.0f %s %s %s',
    lease.created, lease.renewed, lease.deadline, lease.since, lease.dead, lease.cleaned, lease.history, lease.name))
end
