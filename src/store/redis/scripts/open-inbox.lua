-- Makes a node's inbox ready to take entries, and says whether the reader may have missed some: the inbox was gone, or the
-- last entry it read (which always stays) is.
-- Atomic, so that no entry comes between the look and the answer.
-- KEYS[1] inbox
-- KEYS[2] inbox state
-- ARGV[1] id of the last entry read, '' none
-- Reply: 0 nothing was missed, 1 something may have been
-- Complexity: O(log n).
redis.call('HDEL', KEYS[2], '')
local is_gap = 0
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('HSET', KEYS[2], 'b', 0)
  if ARGV[1] ~= '' then is_gap = 1 end
end
if ARGV[1] ~= '' and not redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1] then is_gap = 1 end
return is_gap
