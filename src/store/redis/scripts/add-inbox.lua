-- Adds an entry to a node's inbox, never to one that is gone, and trims the oldest beyond the bound of its bytes.
-- Atomic, so that a removed node's inbox does not come back and the byte count agrees with the entries.
-- KEYS[1] inbox
-- KEYS[2] inbox state
-- ARGV[1] most bytes
-- ARGV[2...] entries
-- Reply: 0 added, 1 the inbox is gone
-- Complexity: O(entries), beside the entries trimmed, each of which was added once.
--- @include "append-inbox"
redis.call('HDEL', KEYS[2], '')
local entries = {}
for at = 2, #ARGV do entries[at - 1] = { 'd', ARGV[at] } end
return append_inbox(KEYS[1], KEYS[2], tonumber(ARGV[1]), entries) and 0 or 1
