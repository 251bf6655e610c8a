-- Notes that the log tells of a session's row, and refuses what was matched before a subscription was removed or changed.
-- Atomic, so that the mark of the row goes only with the rev that was announced.
-- KEYS: session keys (includes/session-keys.lua)
-- ARGV[1] history id (not used: the same arguments for all of a session's scripts)
-- ARGV[2] token of this call (not used: the same arguments for all of a session's scripts)
-- ARGV[3] client id (not used: the same arguments for all of a session's scripts)
-- ARGV[4] incarnation
-- ARGV[5] epoch
-- ARGV[6] rev that was announced
-- ARGV[7] version of the log entry
-- ARGV[8] 1: messages matched below that version are refused from now on
-- Reply: 0 done, 1 fenced
-- Complexity: O(1).
--- @include "session-keys"
--- @include "session-state"
--- @include "open-write"
open_write(COUNTS)
local m = redis.call('HMGET', META, 's', 'i', 'r')
local life, epoch, head, tail, bytes, cut, touched, messages, packed, offset, stamp = unpack_state(m[1])
if not life or m[2] ~= ARGV[4] or epoch ~= tonumber(ARGV[5]) then return 1 end
if m[3] == ARGV[6] then
  redis.call('HSET', META, 'v', ARGV[7])
  redis.call('HDEL', META, 'p')
end
local version = tonumber(ARGV[7])
if ARGV[8] == '1' and version > cut then
  redis.call('HSET', META, 's', pack_state(life, epoch, head, tail, bytes, version, touched, messages, packed, offset, stamp))
end
return 0
