-- One page of the retained messages that match a filter, of some shards one after the other, from a position in the first
-- of them on, raising the fence of each shard that is read.
-- Atomic, so that a write matched before this subscription is either read here or refused by the fence afterwards.
-- The index holds topics with / as NUL, so that the children of a topic stand right behind it. The walk asks for the next
-- topic at or behind a position, compares it with the filter level by level, and jumps to the next position where a match
-- can stand: the cost follows the matches and the distinct names at the levels of +, not the topics.
-- KEYS[1] values of the first shard
-- KEYS[2] its index
-- KEYS[3] its state
-- KEYS[4...] the same three of each further one
-- ARGV[1] version the fences are raised to
-- ARGV[2] position in the first shard: '' begins, else as answered
-- ARGV[3] most messages to answer
-- ARGV[4] most steps
-- ARGV[5...] levels of the filter
-- Reply: {shards that are read to their end, next position in the one behind them ('' begins), topic, value, ...}
-- Complexity: O(shards + steps * log n + messages), bounded by ARGV[4] and ARGV[3].
--- @include "store-time"
--- @include "retained-value"
local limit, steps = tonumber(ARGV[3]), tonumber(ARGV[4])
local levels, depth = {}, #ARGV - 4
for at = 1, depth do levels[at] = ARGV[4 + at] end
local is_deep = levels[depth] == '#'
if is_deep then depth = depth - 1 end
local is_first_wild = depth == 0 or levels[1] == '+'
local now_ms = math.floor(time_us() / 1000)

local version = tonumber(ARGV[1])

-- Order of bytes, which is the order of the index; Lua's own < follows the server's locale.
local function is_before(left, right)
  for at = 1, math.min(#left, #right) do
    local one, other = string.byte(left, at), string.byte(right, at)
    if one ~= other then return one < other end
  end
  return #left < #right
end

-- Where a match can stand next after `member`, whose levels are compared; second answer: whether it matches itself.
-- A position begins with [ (at or behind) or ( (behind); nil: there is none.
local function compare(member)
  if is_first_wild and string.byte(member) == 36 then return '[%', false end
  local start, wild_end = 1, nil
  for at = 1, depth do
    local stop = string.find(member, '\0', start, true)
    local name = string.sub(member, start, stop and stop - 1 or -1)
    local wanted = levels[at]
    if wanted == '+' then
      wild_end = stop and stop - 1 or #member
    elseif name ~= wanted then
      if is_before(name, wanted) then return '[' .. string.sub(member, 1, start - 1) .. wanted, false end
      if wild_end then return '[' .. string.sub(member, 1, wild_end) .. '\1', false end
      return nil, false
    end
    if not stop then
      if at == depth then
        -- It ends where the filter ends. Behind it stand its children, which match only under #.
        if is_deep then return '(' .. member, true end
        if wild_end then return '[' .. string.sub(member, 1, wild_end) .. '\1', true end
        return nil, true
      end
      local below = levels[at + 1]
      return '[' .. member .. '\0' .. (below ~= '+' and below or ''), false
    end
    start = stop + 1
  end
  if is_deep then return '(' .. member, true end
  if wild_end then return '[' .. string.sub(member, 1, wild_end) .. '\1', false end
  return nil, false
end

-- For a filter with # behind fixed or matched levels: the end of the subtree of this member.
local function subtree_end(member)
  local start = 1
  for _ = 1, depth do
    local stop = string.find(member, '\0', start, true)
    if not stop then return '(' .. member .. '\1' end
    start = stop + 1
  end
  return depth > 0 and '(' .. string.sub(member, 1, start - 2) .. '\1' or '+'
end

local function raise_fence(state)
  redis.call('HDEL', state, '')
  local fence = tonumber(redis.call('HGET', state, 'f') or '0')
  if version > fence then redis.call('HSET', state, 'f', ARGV[1]) end
end

-- Topics of a shard's index from a position on, within the limit and the steps, and the next position, nil at the end.
local function walk(index, position)
  local found = {}
  if position == '' then
    position = (depth > 0 and levels[1] ~= '+') and '[' .. levels[1] or '-'
  end
  while position and steps > 0 and #found < limit do
    steps = steps - 1
    local member = redis.call('ZRANGEBYLEX', index, position, '+', 'LIMIT', 0, 1)[1]
    if not member then
      position = nil
    else
      local next_position, is_match = compare(member)
      if is_match and is_deep then
        -- All that follows in this subtree matches: read it in one go.
        local last = subtree_end(member)
        local rest = redis.call('ZRANGEBYLEX', index, '[' .. member, last, 'LIMIT', 0, limit - #found)
        for at = 1, #rest do
          if depth > 0 or string.byte(rest[at]) ~= 36 then found[#found + 1] = rest[at] end
        end
        next_position = '(' .. rest[#rest]
      elseif is_match then
        found[#found + 1] = member
      end
      position = next_position
    end
  end
  return found, position
end

local reply = { 0, '' }

-- Puts what is found and still there into the reply.
local function answer(values, found)
  local topics = {}
  for at = 1, #found do topics[at] = string.gsub(found[at], '%z', '/') end
  for from = 1, #topics, 1000 do
    local to = math.min(from + 999, #topics)
    local page = redis.call('HMGET', values, unpack(topics, from, to))
    for at = from, to do
      local value = page[at - from + 1]
      if value then
        local expires = struct.unpack('>d', value)
        if expires == 0 or expires > now_ms then
          reply[#reply + 1] = topics[at]
          reply[#reply + 1] = value
        end
      end
    end
  end
end

local values, index, state = KEYS[1], KEYS[2], KEYS[3]
local position, key = ARGV[2], 4
while values and steps > 0 and limit > 0 do
  raise_fence(state)
  local found, next_position = walk(index, position)
  answer(values, found)
  limit = limit - #found
  reply[2] = next_position or ''
  if next_position then break end
  reply[1] = reply[1] + 1
  position = ''
  values, index, state = KEYS[key], KEYS[key + 1], KEYS[key + 2]
  key = key + 3
end
return reply
