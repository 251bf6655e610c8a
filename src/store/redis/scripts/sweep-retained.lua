-- Frees retained messages of one shard whose deadline has passed. It only frees memory: readers judge deadlines
-- themselves.
-- Atomic, so that value, index and byte count agree.
-- KEYS[1] values
-- KEYS[2] index
-- KEYS[3] state
-- KEYS[4] deadlines
-- ARGV[1] most messages to free
-- Reply: messages freed
-- Complexity: O(limit * log n).
--- @include "store-time"
--- @include "retained-value"
local values, index, state, deadlines = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now = time_us()
redis.call('HDEL', state, '')
local freed, bytes = 0, 0
for _, topic in ipairs(redis.call('ZRANGEBYSCORE', deadlines, '-inf', digits(now / 1000), 'LIMIT', 0, ARGV[1])) do
  local value = redis.call('HGET', values, topic)
  if value then
    local _, _, _, _, start = unpack_value(value)
    if start <= #value then
      bytes = bytes + #topic + #value - start + 1
      freed = freed + 1
      redis.call('ZREM', index, (string.gsub(topic, '/', '\0')))
    end
    redis.call('HDEL', values, topic)
  end
  redis.call('ZREM', deadlines, topic)
end
if bytes > 0 then redis.call('HINCRBY', state, 'b', -bytes) end
return freed
