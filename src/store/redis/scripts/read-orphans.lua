-- Reads the next messages that an ended session of a client left to the other members of its shared subscriptions, and keeps
-- others away from them for a while.
-- Atomic, so that one node at a time moves them on.
-- KEYS: session keys (includes/session-keys.lua); HELD is not used
-- ARGV[1] history id (not used: the same arguments for all of a session's scripts)
-- ARGV[2] token of this call (not used: the same arguments for all of a session's scripts)
-- ARGV[3] client id
-- ARGV[4] who moves them on
-- ARGV[5] for how long, ms
-- ARGV[6] most messages
-- Reply: {0, life, head, highest seq sent, then seq, entry and assigned member ('' for none) of each} or {1} (none, or somebody else is at it)
-- Complexity: O(messages), and O(holes) up to 20,000 in one call.
--- @include "store-time"
--- @include "session-keys"
--- @include "open-write"
--- @include "queue-runs"
local CHUNK, LOOKED_AT_MAX = 100, 20000
local client, by, limit = ARGV[3], ARGV[4], tonumber(ARGV[6])

open_write(COUNTS)
local now_ms = math.floor(time_us() / 1000)
local m = redis.call('HMGET', ORPHANS, 'l', 'k')
local holder, untl = string.match(m[2] or '', '^(%S+) (%d+)$')
if holder and holder ~= by and tonumber(untl) > now_ms then return { 1 } end
local lines = m[1] or ''

-- The first number from `seq` on that is in none of the holes.
local function behind_holes(holes, seq)
  for from, to in string.gmatch(holes or '', '(%d+)%-(%d+)') do
    if tonumber(from) <= seq and seq <= tonumber(to) then seq = tonumber(to) + 1 end
  end
  return seq
end

while lines ~= '' do
  local life, prefix, head, tail, sent, from, rest = string.match(lines, '^(%d+),([^,]*),(%d+),(%d+),(%-?%d+),(%d+);(.*)$')
  local reply, n, seq, last = { 0, tonumber(life), tonumber(head), tonumber(sent) }, 4, tonumber(from), tonumber(tail)
  local holes, looked_at, first = redis.call('HGET', ORPHANS, 'o' .. prefix), 0, nil
  while seq <= last and looked_at < LOOKED_AT_MAX and n < 4 + 3 * limit do
    local args = {}
    local last_of_chunk = math.min(seq + CHUNK - 1, last)
    looked_at = looked_at + CHUNK
    for one = seq, last_of_chunk do
      args[#args + 1] = prefix .. digits(one)
      args[#args + 1] = 'm' .. prefix .. digits(one)
    end
    local some = redis.call('HMGET', ORPHANS, unpack(args))
    for index = 1, #args, 2 do
      if some[index] and string.byte(some[index]) == RUN then
        local run, one = some[index], seq + (index - 1) / 2
        split_field(ORPHANS, one, run, one, prefix)
        for place, entry in ipairs(split_run(run)) do
          if one + place - 1 <= last_of_chunk then some[index + 2 * place - 2] = entry end
        end
      end
      if some[index] and n < 4 + 3 * limit then
        local one = seq + (index - 1) / 2
        first = first or one
        reply[n + 1], reply[n + 2], reply[n + 3] = one, some[index], some[index + 1] or ''
        n = n + 3
      end
    end
    seq = behind_holes(holes, last_of_chunk + 1)
  end
  if not first and seq > last then
    lines = rest
    redis.call('HSET', ORPHANS, 'l', lines)
    redis.call('HDEL', ORPHANS, 'o' .. prefix)
  else
    local line = table.concat({ life, prefix, head, tail, sent, digits(first or seq) }, ',')
    redis.call('HSET', ORPHANS, 'l', line .. ';' .. rest, 'k', by .. ' ' .. digits(now_ms + tonumber(ARGV[5])))
    redis.call('ZADD', ORPHANED, digits(now_ms + tonumber(ARGV[5])), client)
    return reply
  end
end
redis.call('UNLINK', ORPHANS)
redis.call('ZREM', ORPHANED, client)
return { 1 }
