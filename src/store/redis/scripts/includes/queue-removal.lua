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
  remove_fields(queue, names, 1, #names)
  return taken, bytes, packed, left
end

-- The same where the owner tells the fields from the one with the head on (AckOperation.fields): the first seq (double), then
-- as read_told. Answers by how many fields fewer the removed runs were, and the offset of `to`; nil where the fields are
-- others, and nothing is removed.
local function remove_told(queue, told, head, to, offset)
  local first = head - offset
  if told == '' or struct.unpack('>d', told) ~= first then return nil end
  local names, counts, at = read_told(queue, told, 9, first, to)
  if not names then return nil end
  if at > to then at, names[#names] = at - counts[#counts], nil end
  remove_fields(queue, names, 1, #names)
  return at - first - #names, to - at
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

-- Whether the seqs have jumped (history-jump.lua) since the session began: then a lost tail may have brought back what the
-- owner told long ago, and what lies below a new head goes. Else that is an entry passed over as damaged, and stays.
local function has_jumped(meta)
  return redis.call('HEXISTS', meta, 'b') == 1
end
