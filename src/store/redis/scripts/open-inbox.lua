-- Makes a node's inbox ready to take entries, and says whether its reader may have missed some: the inbox was gone, or the
-- entry that the reader's last trim left (which always stays) is.
-- Atomic, so that no entry comes between the look and the answer.
-- KEYS[1] inbox
-- KEYS[2] inbox state
-- Reply: 0 nothing was missed, 1 entries were trimmed unread, 2 the inbox was made anew
-- Complexity: O(log n).
redis.call('HDEL', KEYS[2], '')
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('HSET', KEYS[2], 'b', 0)
  return 2
end
local left = redis.call('HGET', KEYS[2], 'r')
if left and not redis.call('XRANGE', KEYS[1], left, left)[1] then return 1 end
return 0
