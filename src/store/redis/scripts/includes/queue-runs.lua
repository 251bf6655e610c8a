-- Consecutive messages of QoS 1 or 2 that were queued together lie in a queue as a run, one value in the field of the first
-- seq: byte 3, u16 number of entries, u32 length of each, the entries (inbox-run.ts). No other value begins with that byte.
-- What touches one of them alone splits the run into a field for each. Where PUBREC came in order, they stay in their run: all
-- of it from one seq to another (released-range.lua) stand for PUBREL markers.
--- @include "store-time"
local RUN, RUN_MESSAGES, RUN_BYTES = 3, 32, 4352
local PUBREL_ENTRY = '\1\128'

local function entries_of(value)
  if string.byte(value) ~= RUN then return 1 end
  return (struct.unpack('>H', value, 2))
end

-- The entries of a run. Of one that begins with the seq `first` those from `low` to `high` (nil: none) are PUBREL markers.
local function split_run(value, first, low, high)
  local count, entries = struct.unpack('>H', value, 2), {}
  local at = 4 + 4 * count
  for index = 1, count do
    local size = struct.unpack('>I4', value, 4 * index)
    local is_released = low and low < first + index and first + index <= high + 1
    entries[index] = is_released and PUBREL_ENTRY or string.sub(value, at, at + size - 1)
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
local function split_field(queue, first, run, head, prefix, low, high)
  local args, entries = {}, split_run(run, first, low, high)
  redis.call('HDEL', queue, (prefix or '') .. digits(first))
  for index = math.max(head - first, 0) + 1, #entries do
    args[#args + 1] = (prefix or '') .. digits(first + index - 1)
    args[#args + 1] = entries[index]
  end
  if #args > 0 then redis.call('HSET', queue, unpack(args)) end
  return #entries - 1
end

-- Values of a part as HSET takes them, whose texts begin at `at`, their numbers of messages at `place`; the fields are left out.
-- Answers also these numbers, and the bytes of all entries.
local function read_values(at, numbers, place, count)
  local args, counts, added = {}, {}, 0
  for index = 1, count do
    local value = ARGV[at + index - 1]
    counts[index], args[2 * index] = struct.unpack('>H', numbers, place + 2 * index - 2), value
    added = added + #value
    if counts[index] > 1 then added = added - 3 - 4 * counts[index] end
  end
  return args, counts, added
end
