-- Writes a session's row of subscriptions, before the log tells of it: the row is marked until settle-row says that the
-- log has it, so that the next claim repairs what a dead node left half done.
-- Atomic, so that row, rev, mark and the state of a reading of retained messages agree.
-- KEYS: session keys (includes/session-keys.lua)
-- ARGV[1] history id (not used: the same arguments for all of a session's scripts)
-- ARGV[2] token of this call (not used: the same arguments for all of a session's scripts)
-- ARGV[3] client id
-- ARGV[4] incarnation
-- ARGV[5] epoch
-- ARGV[6] rev
-- ARGV[7] row
-- ARGV[8] 1: a reading begins
-- ARGV[9] its state
-- Reply: 0 done, 1 fenced
-- Complexity: O(size of the row).
--- @include "session-keys"
--- @include "session-state"
--- @include "open-write"
local client = ARGV[3]

open_write(COUNTS)
local m = redis.call('HMGET', META, 's', 'i', 'r')
local life, epoch = unpack_state(m[1])
if not life or m[2] ~= ARGV[4] or epoch ~= tonumber(ARGV[5]) then return 1 end
-- An equal rev is a repetition of this call; a lower one is older than what stands there.
if tonumber(ARGV[6]) < tonumber(m[3] or '0') then return 1 end
redis.call('HSET', ROWS, client, ARGV[7])
redis.call('HSET', META, 'r', ARGV[6], 'p', '1')
if ARGV[8] == '1' then
  redis.call('HSET', READINGS, client, ARGV[9])
  redis.call('HSET', META, 'q', '1')
end
return 0
