-- Wills that were taken some time ago and are not done: their taker died. Two nodes may be given the same one; its mark
-- makes that harmless.
-- Atomic, so that a will that is finished meanwhile is not given out.
-- KEYS[1] taken
-- KEYS[2] taken at
-- ARGV[1] age in ms from which a taken will is left
-- ARGV[2] most clients to answer
-- Reply: for each client: client id, list of {mid, will}
-- Complexity: O(limit * log n).
--- @include "store-time"
local now_ms = math.floor(time_us() / 1000)
redis.call('HDEL', KEYS[1], '')
local clients = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', digits(now_ms - tonumber(ARGV[1])), 'LIMIT', 0, ARGV[2])
local reply = {}
for _, client in ipairs(clients) do
  local packed = redis.call('HGET', KEYS[1], client)
  if packed then
    reply[#reply + 1] = client
    reply[#reply + 1] = cmsgpack.unpack(packed)
  else
    redis.call('ZREM', KEYS[2], client)
  end
end
return reply
