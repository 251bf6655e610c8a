-- Messages of QoS 2 whose PUBREC was seen, in the order of their seqs, stay in their runs: META field g says from which seq to
-- which (doubles) what lies in a run stands for a PUBREL marker. What stands alone is replaced by one. The field means nothing
-- but where the session's state has RANGE_BIT set in the offset of its head, whose numbers are below.
--- @include "store-time"
--- @include "fields"
--- @include "queue-runs"
local RANGE_BIT = 128

-- The range, read where it is not known yet; nil where there is none.
local function range_of(meta, has_range, low, high)
  if not has_range or low then return low, high end
  return struct.unpack('>dd', redis.call('HGET', meta, 'g'))
end

-- Bytes of the entries `from` to `to` of a run.
local function bytes_of(run, from, to)
  local count, bytes = entries_of(run), 0
  if from == 1 and to == count then return #run - 3 - 4 * count end
  for index = from, to do bytes = bytes + (struct.unpack('>I4', run, 4 * index)) end
  return bytes
end

-- What the seqs `from` to `to` of the run that begins with `first` count for, where those from `low` to `high` are markers.
local function bytes_left(run, first, from, to, low, high)
  local bytes = bytes_of(run, from - first + 1, to - first + 1)
  if low then
    low, high = math.max(low, from), math.min(high, to)
    if low <= high then
      bytes = bytes - bytes_of(run, low - first + 1, high - first + 1) + (high - low + 1) * #PUBREL_ENTRY
    end
  end
  return bytes
end

-- How the values from seq `at` to below `to` lie in the queue, as the owner tells it from `place` on: of each its messages (u16)
-- and its size (u32), so that none has to be read. Answers their fields, their numbers of messages, and the seq behind the
-- last one; nil where it is not so.
local function read_told(queue, told, place, at, to)
  local names, counts, n = {}, {}, 0
  while at < to do
    if place > #told then return nil end
    local count, size
    count, size, place = struct.unpack('>HI4', told, place)
    n = n + 1
    names[n], counts[n] = digits(at), count
    if redis.call('HSTRLEN', queue, names[n]) ~= size then return nil end
    at = at + count
  end
  return names, counts, at
end

-- Where seqs in a row are to become markers: the fields of those that stand alone, and the bytes that are freed; nil where
-- one of them is not there. The owner may tell how they lie there (AckOperation.releasedFields): the first seq of the first
-- value and the bytes that are freed (doubles), then as read_told.
local function find_released(queue, told, first, last)
  local names, at, freed = {}, first, 0
  if told ~= '' then
    local from, freed_told = struct.unpack('>dd', told)
    local fields, counts = read_told(queue, told, 17, from, last + 1)
    if fields and from <= first and first < from + counts[1] then
      for place, name in ipairs(fields) do
        if counts[place] == 1 then names[#names + 1] = name end
      end
      return names, freed_told
    end
  end
  local run, size = get_run(queue, digits(at))
  if size == 0 then at, run = find_run(queue, at) end
  while at and (run or size > 0) do
    if run then
      local from, to = math.max(at, first), math.min(at + entries_of(run) - 1, last)
      freed = freed + bytes_left(run, at, from, to) - (to - from + 1) * #PUBREL_ENTRY
      at = at + entries_of(run)
    else
      names[#names + 1], freed = digits(at), freed + size - #PUBREL_ENTRY
      at = at + 1
    end
    if at > last then return names, freed end
    run, size = get_run(queue, digits(at))
  end
end

-- Has the seqs `from` to `to` stand for markers, if that can be told by the range: they follow it, or are in it already, or
-- all of it is done. Answers the range then, and the bytes that are freed.
local function release_range(queue, told, from, to, head, tail, low, high)
  if low and high < head then low = nil end
  if low and low <= from and to <= high then return low, high, 0 end
  if low and from ~= high + 1 or from < head or to > tail then return end
  local names, freed = find_released(queue, told, from, to)
  if not names then return end
  local args = {}
  for _, name in ipairs(names) do args[#args + 1], args[#args + 2] = name, PUBREL_ENTRY end
  set_fields(queue, args, #args)
  return low or from, to, freed
end

-- Writes the markers that the range stands for: who reads the queue from now on does not know it.
local function write_range(queue, head, low, high)
  local seq = math.max(low, head)
  while seq <= high do
    local first, run, size = seq, get_run(queue, digits(seq))
    if size == 0 then first, run = find_run(queue, seq) end
    if run then
      split_field(queue, first, run, head, nil, low, high)
      seq = first + entries_of(run)
    else
      seq = seq + 1
    end
  end
end
