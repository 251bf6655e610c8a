-- The id of the newest entry of a node's inbox, without the entry: that may be large.
-- A script, so that a master that was replaced refuses it, and cannot give the id of a time before others' last entries.
-- KEYS[1] inbox
-- KEYS[2] inbox state
-- Reply: the id, 0-0 for an inbox without entries
-- Complexity: O(log n).
redis.call('HDEL', KEYS[2], '')
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
return newest and newest[1] or '0-0'
