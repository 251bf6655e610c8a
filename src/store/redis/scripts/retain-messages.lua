-- Writes and clears retained messages of one shard. Last write per topic wins; what is older than what stands there (same
-- writer, same mark) counts as done, what was matched before the shard's fence is refused.
-- Atomic per call, so that value, index, byte count, marks and fence agree. Repeating it changes nothing. When memory is
-- full, clearing still runs and writes are answered 6.
-- KEYS[1] values
-- KEYS[2] index
-- KEYS[3] state
-- KEYS[4] deadlines
-- KEYS[5] marks
-- ARGV[1] most messages of the shard
-- ARGV[2] most bytes of the shard
-- ARGV[3] life of a mark, ms
-- ARGV[4...] for each write: topic, record ('' clears), deadline in ms (0 never), version, writer's client id ('' none),
--   epoch, number, mark key ('' none), mid
-- Reply: {messages, bytes, then for each write: 0 done | 1 older | 2 stale | 3 full | 6 memory full | 7 a write of the
--   topic before it is stale, fence}
-- Complexity: O(writes * log n), bounded by the sender.
--- @include "store-time"
--- @include "retained-value"
local values, index, state, deadlines, marks = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local max_messages, max_bytes, mark_life_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local is_full = false
local probe = redis.pcall('HINCRBY', state, 'w', 0)
if type(probe) == 'table' and probe.err then
  if not string.find(probe.err, 'OOM', 1, true) then return probe end
  is_full = true
  redis.call('HDEL', state, '')
end
local s = redis.call('HMGET', state, 'f', 'b')
local fence, bytes = tonumber(s[1] or '0'), tonumber(s[2] or '0')
local before = bytes
local messages = redis.call('ZCARD', index)
local now_ms = math.floor(time_us() / 1000)
local reply, stale = {}, {}

local function write(at)
  local topic, record, expires, version = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local client, epoch, number = ARGV[at + 4], tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
  local mark, mid = ARGV[at + 7], ARGV[at + 8]
  -- What was submitted later does not overtake it: it may be sent again in its place.
  if stale[topic] then return 7 end
  if is_full and record ~= '' then return 6 end
  if mark ~= '' then
    mark = mark .. '\0' .. topic
    local taken = redis.call('HGET', marks, mark)
    if taken and struct.unpack('>d', taken) >= tonumber(mid) then return 1 end
  end
  local old = redis.call('HGET', values, topic)
  local old_bytes = 0
  if old then
    local _, old_epoch, old_number, old_client, start = unpack_value(old)
    if client ~= '' and client == old_client then
      if epoch < old_epoch or (epoch == old_epoch and number < old_number) then return 1 end
    end
    if start <= #old then old_bytes = #topic + #old - start + 1 end
  end
  if version < fence then
    stale[topic] = true
    return 2
  end
  local new_bytes = record ~= '' and #topic + #record or 0
  if record ~= '' then
    if old_bytes == 0 and messages + 1 > max_messages then return 3 end
    if new_bytes > old_bytes and bytes - old_bytes + new_bytes > max_bytes then return 3 end
  end
  local member = string.gsub(topic, '/', '\0')
  if mark ~= '' then redis.call('HSET', marks, mark, struct.pack('>dd', tonumber(mid), now_ms)) end
  if record ~= '' then
    redis.call('HSET', values, topic, pack_value(expires, epoch, number, client, record))
    if old_bytes == 0 then
      redis.call('ZADD', index, 0, member)
      messages = messages + 1
    end
    if expires > 0 then
      redis.call('ZADD', deadlines, digits(expires), topic)
    elseif old then
      redis.call('ZREM', deadlines, topic)
    end
  else
    if old_bytes > 0 then
      redis.call('ZREM', index, member)
      messages = messages - 1
    end
    if client ~= '' then
      redis.call('HSET', values, topic, pack_value(0, epoch, number, client, ''))
      redis.call('ZADD', deadlines, digits(now_ms + mark_life_ms), topic)
    elseif old then
      redis.call('HDEL', values, topic)
      redis.call('ZREM', deadlines, topic)
    end
  end
  bytes = bytes - old_bytes + new_bytes
  return 0
end

for at = 4, #ARGV, 9 do
  reply[#reply + 1] = write(at)
  reply[#reply + 1] = fence
end
if bytes ~= before then redis.call('HSET', state, 'b', bytes) end
table.insert(reply, 1, bytes)
table.insert(reply, 1, messages)
return reply
