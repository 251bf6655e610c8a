-- Gives one node at a time the right to clean up after a dead one; its holder may renew it.
-- Atomic, so that two nodes do not hold it.
-- KEYS[1] cleanup lock
-- KEYS[2] leases (its HDEL lets the script run when memory is full)
-- ARGV[1] incarnation that asks
-- ARGV[2] for how long, ms
-- Reply: 1 it holds the lock, 0 another one does
-- Complexity: O(1).
redis.call('HDEL', KEYS[2], '')
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
