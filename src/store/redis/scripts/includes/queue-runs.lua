-- Consecutive messages that were queued together and are acknowledged without a state of their own (QoS 1) lie in a queue as a
-- run, one value in the field of the first seq: byte 3, u16 number of entries, u32 length of each, the entries (run.ts). No
-- other value begins with that byte. What touches one of them alone splits the run into a field for each.
--- @include "store-time"
local RUN, RUN_MESSAGES, RUN_BYTES = 3, 32, 4352

local function entries_of(value)
  if string.byte(value) ~= RUN then return 1 end
  return (struct.unpack('>H', value, 2))
end

local function split_run(value)
  local count, entries = struct.unpack('>H', value, 2), {}
  local at = 4 + 4 * count
  for index = 1, count do
    local size = struct.unpack('>I4', value, 4 * index)
    entries[index] = string.sub(value, at, at + size - 1)
    at = at + size
  end
  return entries
end

-- The value of a field if it is a run, and its size; a larger value is none, and is not read.
local function get_run(queue, field)
  local size = redis.call('HSTRLEN', queue, field)
  if size == 0 or size > RUN_BYTES then return nil, size end
  local value = redis.call('HGET', queue, field)
  return string.byte(value) == RUN and value or nil, size
end

-- First seq and value of the run in which `seq` lies behind the first, or nil.
local function find_run(queue, seq)
  for first = seq - 1, math.max(seq - RUN_MESSAGES + 1, 1), -1 do
    local run, size = get_run(queue, digits(first))
    if run and first + entries_of(run) > seq then return first, run end
    if size > 0 then return nil end
  end
end

-- Gives each entry of a run a field of its own; those below the head are done. Answers how many fewer fields the run was.
local function split_field(queue, first, run, head, prefix)
  local args, entries = {}, split_run(run)
  redis.call('HDEL', queue, (prefix or '') .. digits(first))
  for index = math.max(head - first, 0) + 1, #entries do
    args[#args + 1] = (prefix or '') .. digits(first + index - 1)
    args[#args + 1] = entries[index]
  end
  if #args > 0 then redis.call('HSET', queue, unpack(args)) end
  return #entries - 1
end
