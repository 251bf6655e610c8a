-- A session was taken over: the index of what the node before holds forgets it, unless that node has it again by now.
-- Atomic, so that a session that is held is never missing in its holder's index.
-- KEYS: session keys (includes/session-keys.lua); HELD is of the node before
-- ARGV[1] history id (not used: the same arguments for all of a session's scripts)
-- ARGV[2] token of this call (not used: the same arguments for all of a session's scripts)
-- ARGV[3] client id
-- ARGV[4] incarnation of the node before
-- Reply: 0
-- Complexity: O(1).
--- @include "session-keys"
if redis.call('HGET', META, 'i') ~= ARGV[4] then redis.call('SREM', HELD, ARGV[3]) end
return 0
