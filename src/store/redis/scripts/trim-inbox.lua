-- The node has read its inbox to an entry: what is older goes, that entry stays, by which a later loss is noticed.
-- Atomic, so that the byte count agrees with the entries. A repetition is known by the entry and answers the same.
-- KEYS[1] inbox
-- KEYS[2] inbox state
-- ARGV[1] id of the last entry read
-- ARGV[2] bytes of the entries read since the trim before, without the last
-- ARGV[3] bytes of the last entry
-- Reply: 0, or 1 when the entry that the trim before left is gone: entries were trimmed unread
-- Complexity: O(entries trimmed).
if redis.call('EXISTS', KEYS[2]) == 0 then return 1 end
redis.call('HDEL', KEYS[2], '')
local s = redis.call('HMGET', KEYS[2], 'r', 'g')
if s[1] == ARGV[1] then return tonumber(s[2]) end
local is_gap = 0
if s[1] and not redis.call('XRANGE', KEYS[1], s[1], s[1])[1] then is_gap = 1 end
redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])
redis.call('HSET', KEYS[2], 'r', ARGV[1], 'g', is_gap)
if redis.call('XLEN', KEYS[1]) <= 1 then
  redis.call('HSET', KEYS[2], 'b', ARGV[3])
elseif redis.call('HINCRBY', KEYS[2], 'b', 0 - tonumber(ARGV[2])) < 0 then
  redis.call('HSET', KEYS[2], 'b', 0)
end
return is_gap
