-- The node has read its inbox to an entry: what is older goes, that entry stays, by which a later loss is noticed.
-- Atomic, so that the byte count agrees with the entries.
-- KEYS[1] inbox
-- KEYS[2] inbox state
-- ARGV[1] id of the last entry read at the trim before, '' none
-- ARGV[2] id of the last entry read now
-- ARGV[3] bytes of the entries read since then, without the last
-- ARGV[4] bytes of the last entry
-- Reply: 0, or 1 when the entry of the trim before is gone: entries were trimmed unread
-- Complexity: O(entries trimmed).
if redis.call('EXISTS', KEYS[2]) == 0 then return 1 end
redis.call('HDEL', KEYS[2], '')
local is_gap = 0
if ARGV[1] ~= '' and not redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1] then is_gap = 1 end
redis.call('XTRIM', KEYS[1], 'MINID', ARGV[2])
if redis.call('XLEN', KEYS[1]) <= 1 then
  redis.call('HSET', KEYS[2], 'b', ARGV[4])
elseif redis.call('HINCRBY', KEYS[2], 'b', 0 - tonumber(ARGV[3])) < 0 then
  redis.call('HSET', KEYS[2], 'b', 0)
end
return is_gap
