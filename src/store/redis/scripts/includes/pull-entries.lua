-- Reads entries of a queue from a seq on, at most `count` seqs and about `max_bytes` bytes. A window without any entry
-- may lie in a recorded hole (history jump, dropped run); then reading goes on behind the hole.
--- @include "queue-runs"
local PULL_CHUNK = 32

local function hole_end(meta, from, to)
  local m = redis.call('HMGET', meta, 'o', 'y', 'f')
  local last
  for first, final in string.gmatch(m[1] or '', '(%d+)%-(%d+)') do
    first, final = tonumber(first), tonumber(final)
    if first <= to and final >= from and (not last or final > last) then last = final end
  end
  if m[2] then
    local first, final = tonumber(m[2]), tonumber(m[3]) - 1
    if first <= to and final >= from and (not last or final > last) then last = final end
  end
  return last
end

-- Answers the first seq read and the list of entries (false where there is none). Those in runs from `low` to `high` (nil:
-- none) are PUBREL markers.
local function pull_entries(meta, queue, from, count, max_bytes, tail, low, high)
  for _ = 1, 8 do
    local entries, found, bytes, seq = {}, false, 0, from
    local last = math.min(from + count - 1, tail)
    -- Entries of runs, by seq.
    local ahead = {}
    local function take_run(first, run)
      for index, entry in ipairs(split_run(run, first, low, high)) do ahead[first + index - 1] = entry end
    end
    if from <= last and redis.call('HEXISTS', queue, digits(from)) == 0 then
      local first, run = find_run(queue, from)
      if first then take_run(first, run) end
    end
    while seq <= last and bytes < max_bytes do
      local args = {}
      for one = seq, math.min(seq + PULL_CHUNK - 1, last) do args[#args + 1] = one end
      local chunk = redis.call('HMGET', queue, unpack(args))
      for index = 1, #args do
        local entry = ahead[args[index]] or chunk[index]
        if entry and string.byte(entry) == RUN then
          take_run(args[index], entry)
          entry = ahead[args[index]]
        end
        if entry then
          if bytes > 0 and bytes + #entry > max_bytes then return from, entries end
          bytes = bytes + #entry
          found = true
        end
        entries[#entries + 1] = entry
      end
      seq = seq + #args
    end
    if found or from > tail then return from, entries end
    local final = hole_end(meta, from, last)
    if not final then return from, entries end
    from = final + 1
  end
  return from, {}
end
