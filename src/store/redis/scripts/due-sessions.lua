-- Client ids whose deadline has passed, of several buckets in one call.
-- A script because the time that counts is the store's.
-- KEYS[1...] due
-- ARGV[1] most client ids to answer
-- Reply: list of client ids
-- Complexity: O(buckets * log n + limit).
--- @include "store-time"
local now_ms = digits(math.floor(time_us() / 1000))
local left, reply = tonumber(ARGV[1]), {}
for index = 1, #KEYS do
  if left <= 0 then break end
  local found = redis.call('ZRANGEBYSCORE', KEYS[index], '-inf', now_ms, 'LIMIT', 0, left)
  for _, client in ipairs(found) do reply[#reply + 1] = client end
  left = left - #found
end
return reply
