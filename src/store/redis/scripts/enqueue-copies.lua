-- One step of the reading of retained messages for a new subscription: queues the copies, but not those of topics whose
-- live message was queued meanwhile (they are newer), and keeps how far the reading is.
-- Atomic, so that the state and the copies agree: another node can go on. A step that ran before is known by the state
-- that it left, and adds nothing.
-- KEYS: session keys (includes/session-keys.lua)
-- ARGV[1] history id
-- ARGV[2] token of this call (not used: the same arguments for all of a session's scripts)
-- ARGV[3] client id
-- ARGV[4] incarnation
-- ARGV[5] epoch
-- ARGV[6] 1: the reading goes on, 0: it is over
-- ARGV[7] state of the reading
-- ARGV[8...] topic and entry of each copy
-- Reply: {0, tail, seq of each copy (0 dropped)} or {1} (fenced)
-- Complexity: O(copies), one page (limits.maxRetainedPage).
--- @include "session-keys"
--- @include "session-state"
--- @include "open-write"
--- @include "history-jump"
local history, client = ARGV[1], ARGV[3]

open_write(COUNTS)
local m = redis.call('HMGET', META, 's', 'i')
local life, epoch, head, tail, bytes, cut, touched, messages, packed, offset, stamp = unpack_state(m[1])
if not life or m[2] ~= ARGV[4] or epoch ~= tonumber(ARGV[5]) then return { 1 } end
if touched ~= history then tail, head = jump_history(META, history, life, epoch, head, tail, bytes, cut, messages, packed, offset, stamp) end
local copies = (#ARGV - 7) / 2
local reply = { 0, tail }
local stored = redis.call('HGET', READINGS, client)
if stored == (ARGV[6] == '1' and ARGV[7] or false) then
  for index = 1, copies do reply[index + 2] = 0 end
  return reply
end
local fields, added, bytes_before = {}, 0, bytes
for index = 1, copies do
  local topic, entry = ARGV[6 + 2 * index], ARGV[7 + 2 * index]
  if redis.call('SISMEMBER', NOTES, topic) == 1 then
    reply[index + 2] = 0
  else
    tail, added = tail + 1, added + 1
    bytes = bytes + #entry
    fields[#fields + 1], fields[#fields + 2] = tail, entry
    reply[index + 2] = tail
  end
end
for from = 1, #fields, 4000 do
  redis.call('HSET', QUEUE, unpack(fields, from, math.min(from + 3999, #fields)))
end
redis.call('HSET', META, 's', pack_state(life, epoch, head, tail, bytes, cut, history, messages + added, packed, offset, stamp))
if added > 0 then
  redis.call('HINCRBY', COUNTS, 'q', added)
  redis.call('HINCRBY', COUNTS, 'w', bytes - bytes_before)
end
if ARGV[6] == '1' then
  redis.call('HSET', READINGS, client, ARGV[7])
  redis.call('HSET', META, 'q', '1')
else
  redis.call('HDEL', READINGS, client)
  redis.call('HDEL', META, 'q')
  redis.call('UNLINK', NOTES)
end
reply[2] = tail
return reply
