-- Stores bodies that many queue entries refer to, and notes which receivers are done with theirs; the last one frees it.
-- Atomic per call, so that a receiver counts once: its bit says whether it was counted. Repeating a call changes nothing.
-- KEYS[1...] for each operation: payload, done bits, deadlines
-- ARGV[1...] for each operation: S id body receivers deadline | F id count indexes...
-- Reply: list, 0 done or 6 (memory full, only S) for each operation
-- Complexity: O(operations + indexes), bounded by the sender.
local call, reply, at = redis.call, {}, 1
local is_full = false
local probe = redis.pcall('ZADD', KEYS[3], 'XX', 0, '')
if type(probe) == 'table' and probe.err then
  if not string.find(probe.err, 'OOM', 1, true) then return probe end
  is_full = true
  call('HDEL', KEYS[1], '')
end
for key = 1, #KEYS, 3 do
  local payload, bits, deadlines = KEYS[key], KEYS[key + 1], KEYS[key + 2]
  local id = ARGV[at + 1]
  if ARGV[at] == 'S' then
    if is_full then
      reply[#reply + 1] = 6
    else
      -- Written again by a repetition, so that WAIT has something to wait for; receivers that are done stay counted.
      call('HSETNX', payload, 'n', ARGV[at + 3])
      call('HSET', payload, 'b', ARGV[at + 2])
      call('ZADD', deadlines, ARGV[at + 4], id)
      reply[#reply + 1] = 0
    end
    at = at + 5
  else
    local count, left = tonumber(ARGV[at + 2]), tonumber(call('HGET', payload, 'n') or '0')
    if left > 0 then
      for place = at + 3, at + 2 + count do
        if call('SETBIT', bits, ARGV[place], 1) == 0 then left = left - 1 end
      end
      if left <= 0 then
        call('UNLINK', payload, bits)
        call('ZREM', deadlines, id)
      else
        call('HSET', payload, 'n', left)
      end
    end
    reply[#reply + 1] = 0
    at = at + 3 + count
  end
end
return reply
