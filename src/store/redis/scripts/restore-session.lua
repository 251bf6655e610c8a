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
-- ARGV[11] when the owner wrote the call, ms of its own clock: as in commit-sessions.lua, a call that was written before comes late
-- ARGV[12...] fields and values of INBOUND: the receptions that the owner has not finished
-- Reply: 0 done, 1 fenced
-- Complexity: O(size of the row, unfinished receptions).
--- @include "store-time"
--- @include "session-keys"
--- @include "session-state"
--- @include "open-write"
--- @include "history-jump"
--- @include "end-session"
local history, client, incarnation = ARGV[1], ARGV[3], ARGV[4]
local epoch, life = tonumber(ARGV[5]), tonumber(ARGV[6])

open_write(COUNTS)
local m = redis.call('HMGET', META, 's', 'i', 'r')
local stored_life, stored_epoch, head, tail, bytes, cut, touched, messages, packed, offset, stamp = unpack_state(m[1])
if stored_life then
  if stored_epoch > epoch or stored_life > life then return 1 end
  if stored_epoch == epoch and m[2] ~= incarnation then return 1 end
end
local rev, is_new = tonumber(m[3] or '0'), stored_life ~= life
-- The stamp of another owner is by another clock.
local sent_at = tonumber(ARGV[11])
if stored_epoch == epoch and sent_at < stamp then return 1 end
stamp = sent_at
if is_new then
  if stored_life then end_session(client) end
  redis.call('UNLINK', META, QUEUE, MARKS, NOTES, INBOUND)
  head, tail, bytes, cut, touched, rev, messages, packed, offset = 1, 0, 0, 0, nil, -1, 0, 0, 0
  redis.call('HINCRBY', COUNTS, 's', 1)
end
if touched == history then
  redis.call('HSET', META, 's', pack_state(life, epoch, head, tail, bytes, cut, history, messages, packed, offset, stamp))
else
  jump_history(META, history, life, epoch, head, tail, bytes, cut, messages, packed, offset, stamp)
end
redis.call('HSET', META, 'i', incarnation, 'x', ARGV[8], 'd', '0', 'u', '0')
if is_new then redis.call('HSET', META, 'r', '0', 'v', '0', 'z', '-1', 'm', '0') end
redis.call('ZREM', DUE, client)
redis.call('SADD', HELD, client)
if ARGV[9] == '1' and tonumber(ARGV[7]) > rev then
  redis.call('HSET', ROWS, client, ARGV[10])
  redis.call('HSET', META, 'r', ARGV[7], 'p', '1')
end
-- Records of finished ones come back with a lost tail; the client uses their identifiers for other messages.
redis.call('UNLINK', INBOUND)
for index = 12, #ARGV, 2 do redis.call('HSET', INBOUND, ARGV[index], ARGV[index + 1]) end
return 0
