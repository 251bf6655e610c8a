-- Writes claim and subscriptions back after the store lost its tail: the owner still has them in memory.
-- Atomic, so that what is stored is replaced only where it is older: another owner with a higher epoch has the session,
-- and this one is fenced. The queue that belongs to a lost life is gone; its tail starts behind all seqs it may have had.
-- KEYS: session keys (includes/session-keys.lua); HELD is of the owner
-- ARGV[1] history id
-- ARGV[2] token of this call (not used: the same arguments for all of a session's scripts)
-- ARGV[3] client id
-- ARGV[4] incarnation
-- ARGV[5] epoch
-- ARGV[6] life
-- ARGV[7] rev
-- ARGV[8] expiry in seconds
-- ARGV[9] 1: a row follows
-- ARGV[10] row
-- ARGV[11...] packet identifiers of the receptions that the owner has not finished
-- Reply: 0 done, 1 fenced
-- Complexity: O(size of the row, unfinished receptions).
--- @include "session-keys"
--- @include "open-write"
--- @include "history-jump"
--- @include "end-session"
local history, client, incarnation, epoch, life = ARGV[1], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

open_write(COUNTS)
local m = redis.call('HMGET', META, 'l', 'i', 'e', 'r', 'h', 't', 'g')
local stored_epoch = tonumber(m[3] or '0')
if m[1] then
  if stored_epoch > tonumber(epoch) or tonumber(m[1]) > tonumber(life) then return 1 end
  if stored_epoch == tonumber(epoch) and m[2] ~= incarnation then return 1 end
end
local rev = tonumber(m[4] or '0')
if m[1] ~= life then
  if m[1] then end_session(client) end
  redis.call('UNLINK', META, QUEUE, MARKS, NOTES, INBOUND)
  redis.call('HSET', META, 'l', life, 'i', incarnation, 'e', epoch, 'h', '1', 't', '0', 'b', '0', 'c', '0', 'g', history)
  redis.call('HSET', META, 'r', '0', 'v', '0', 'z', '-1', 'm', '0', 'd', '0', 'u', '0')
  redis.call('HINCRBY', COUNTS, 's', 1)
  jump_history(META, history, 1, 0)
  rev = -1
elseif m[7] ~= history then
  jump_history(META, history, tonumber(m[5]), tonumber(m[6]))
end
redis.call('HSET', META, 'i', incarnation, 'e', epoch, 'x', ARGV[8], 'd', '0', 'u', '0')
redis.call('ZREM', DUE, client)
redis.call('SADD', HELD, client)
if ARGV[9] == '1' and tonumber(ARGV[7]) > rev then
  redis.call('HSET', ROWS, client, ARGV[10])
  redis.call('HSET', META, 'r', ARGV[7], 'p', '1')
end
-- Records of finished ones come back with a lost tail; the client uses their identifiers for other messages.
local open = {}
for index = 11, #ARGV do open[ARGV[index]] = true end
for _, packet_id in ipairs(redis.call('HKEYS', INBOUND)) do
  if not open[packet_id] then redis.call('HDEL', INBOUND, packet_id) end
end
return 0
