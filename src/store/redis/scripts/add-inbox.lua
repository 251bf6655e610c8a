-- Adds an entry to a node's inbox, never to one that is gone, and trims the oldest beyond the bound of its bytes.
-- Atomic, so that a removed node's inbox does not come back and the byte count agrees with the entries.
-- KEYS[1] inbox
-- KEYS[2] inbox state
-- ARGV[1] most bytes
-- ARGV[2...] entries
-- Reply: 0 added, 1 the inbox is gone
-- Complexity: O(entries), beside the entries trimmed, each of which was added once.
redis.call('HDEL', KEYS[2], '')
local bytes = redis.call('HGET', KEYS[2], 'b')
if not bytes then return 1 end
bytes = tonumber(bytes)
for at = 2, #ARGV do
  bytes = bytes + #ARGV[at]
  redis.call('XADD', KEYS[1], '*', 'd', ARGV[at])
end
local max_bytes = tonumber(ARGV[1])
while bytes > max_bytes do
  local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 2)
  if #oldest < 2 then break end
  bytes = bytes - #oldest[1][2][2]
  redis.call('XDEL', KEYS[1], oldest[1][1])
end
redis.call('HSET', KEYS[2], 'b', bytes)
return 0
