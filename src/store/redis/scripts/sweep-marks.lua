-- Removes the marks of one session that are older than their life, and says when to look again.
-- Atomic, so that a session leaves the index only when it has no mark left.
-- KEYS[1] marks
-- KEYS[2] marked
-- ARGV[1] client id
-- ARGV[2] life of a mark, ms
-- Reply: marks removed
-- Complexity: O(log n + removed).
--- @include "store-time"
local now = time_us()
local life = tonumber(ARGV[2]) * 1000
local removed = redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', digits(now - life))
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if oldest[1] then
  redis.call('ZADD', KEYS[2], digits((tonumber(oldest[2]) + life) / 1000), ARGV[1])
else
  redis.call('ZREM', KEYS[2], ARGV[1])
end
return removed
