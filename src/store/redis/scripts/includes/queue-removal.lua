-- What takes messages out of a queue, whose entries may lie in runs.
--- @include "fields"
--- @include "pull-entries"
--- @include "queue-runs"
--- @include "released-range"
-- Removes the oldest entry from `behind` on, where the window ends; answers its bytes, or nil when there is none, and by how
-- many fields a run was split, and the first seq of that. The run of removed seqs is kept in y (first) and f (behind the last), so that neither this
-- nor a pull walks over it again.
local function drop_oldest(meta, queue, behind, tail, head, low, high)
  local m = redis.call('HMGET', meta, 'y', 'f')
  local first, from = tonumber(m[1] or '0'), tonumber(m[2] or '0')
  if from < behind then first, from = behind, behind end
  while from <= tail do
    local run, size = get_run(queue, from)
    local start, split = from, 0
    if size == 0 then start, run = find_run(queue, from) end
    if run then
      split = split_field(queue, start, run, head, nil, low, high)
      size = redis.call('HSTRLEN', queue, from)
    end
    from = from + 1
    if size > 0 then
      redis.call('HDEL', queue, from - 1)
      redis.call('HSET', meta, 'y', first, 'f', from)
      return size, split, start
    end
    -- A hole behind a lost tail is long.
    local final = hole_end(meta, from - 1, from - 1)
    if final then from = final + 1 end
  end
  redis.call('HSET', meta, 'y', first, 'f', from)
  return nil, 0
end

-- Removes all from the head to below `to`; `offset` is how far behind the first seq of its run the head is. Answers the
-- messages and bytes that were there, by how many fields fewer the removed runs were, and the offset of `to`.
local function remove_head(meta, queue, head, to, offset, low, high)
  local names, taken, bytes, packed, at, lowest, left = {}, 0, 0, 0, head - offset, head, 0
  if redis.call('HEXISTS', queue, digits(at)) == 0 then
    -- A lost tail brought back what is before it in its run: that is still counted.
    at = find_run(queue, head) or head
    lowest = at
  end
  while at < to do
    local run, size = get_run(queue, digits(at))
    local count = run and entries_of(run) or 1
    local from, last = math.max(at, lowest), math.min(at + count, to) - 1
    if size > 0 then
      taken = taken + last - from + 1
      bytes = bytes + (run and bytes_left(run, at, from, last, low, high) or size)
      if at + count > to then
        left = to - at
      else
        names[#names + 1] = digits(at)
        packed = packed + count - 1
      end
    end
    at = at + count
    local final = size == 0 and hole_end(meta, at - 1, at - 1)
    if final then at = final + 1 end
  end
  for from = 1, #names, 4000 do
    redis.call('HDEL', queue, unpack(names, from, math.min(from + 3999, #names)))
  end
  return taken, bytes, packed, left
end

-- The same where the owner tells the fields from the one with the head on: the first seq (double), then of each its messages
-- (u16) and the size of its value (u32), so that none has to be read. Answers by how many fields fewer the removed runs were,
-- and the offset of `to`; nil where the fields are others, and nothing is removed.
local function remove_told(queue, told, head, to, offset)
  if told == '' or struct.unpack('>d', told) ~= head - offset then return nil end
  local names, packed, at, place = {}, 0, head - offset, 9
  while at < to do
    if place > #told then return nil end
    local count, size
    count, size, place = struct.unpack('>HI4', told, place)
    local name = digits(at)
    if redis.call('HSTRLEN', queue, name) ~= size then return nil end
    if at + count > to then break end
    names[#names + 1] = name
    packed, at = packed + count - 1, at + count
  end
  for from = 1, #names, 4000 do
    redis.call('HDEL', queue, unpack(names, from, math.min(from + 3999, #names)))
  end
  return packed, to - at
end

-- Removes what is left from `from`, where no run has begun before, to below `to`: most of it is done already, but a lost tail may
-- have brought back what the owner has told long ago. Only where the seqs have jumped (history-jump.lua) since the session
-- began: else what is left was passed over because it is damaged, and stays. Answers as remove_head, without the offset.
local function remove_left(meta, queue, from, to, low, high)
  local names, taken, bytes, packed = {}, 0, 0, 0
  if redis.call('HEXISTS', meta, 'b') == 0 then return taken, bytes, packed end
  while from < to do
    local args, last, found = {}, math.min(from + PULL_CHUNK, to) - 1, false
    put_seqs(args, 1, from, last - from + 1)
    for index, entry in ipairs(redis.call('HMGET', queue, unpack(args))) do
      if entry then
        local seq, count = from + index - 1, entries_of(entry)
        local stop = math.min(seq + count, to)
        found, taken, packed = true, taken + stop - seq, packed + count - 1
        bytes = bytes + (count == 1 and #entry or bytes_left(entry, seq, seq, stop - 1, low, high))
        if seq + count > to then
          split_field(queue, seq, entry, to, nil, low, high)
        else
          names[#names + 1] = args[index]
        end
      end
    end
    local final = not found and hole_end(meta, from, last)
    from = math.max(last, final or 0) + 1
  end
  for at = 1, #names, 4000 do redis.call('HDEL', queue, unpack(names, at, math.min(at + 3999, #names))) end
  return taken, bytes, packed
end

-- Gives a seq that is to have a state of its own a field of its own. Answers its bytes (0 when it is not there), by how many
-- fields a run was split, and the first seq of that.
local function single_out(queue, seq, head, low, high)
  local run, size = get_run(queue, digits(seq))
  local first = seq
  if size == 0 then first, run = find_run(queue, seq) end
  if not run then return size, 0 end
  local split = split_field(queue, first, run, head, nil, low, high)
  return redis.call('HSTRLEN', queue, digits(seq)), split, first
end

-- A seq within a recorded hole is there now.
local function cut_hole(meta, seq)
  local kept, is_cut = {}, false
  for from, to in string.gmatch(redis.call('HGET', meta, 'o') or '', '(%d+)%-(%d+)') do
    if tonumber(from) <= seq and seq <= tonumber(to) then
      is_cut = true
      if tonumber(from) < seq then kept[#kept + 1] = from .. '-' .. digits(seq - 1) end
      if seq < tonumber(to) then kept[#kept + 1] = digits(seq + 1) .. '-' .. to end
    else
      kept[#kept + 1] = from .. '-' .. to
    end
  end
  if is_cut then redis.call('HSET', meta, 'o', table.concat(kept, ',')) end
end
