-- What takes messages out of a queue, whose entries may lie in runs.
--- @include "pull-entries"
--- @include "queue-runs"
-- Removes the oldest entry from `behind` on, where the window ends; answers its bytes, or nil when there is none. The run of removed seqs is
-- kept in y (first) and f (behind the last), so that neither this nor a pull walks over it again.
local function drop_oldest(meta, queue, behind, tail, head)
  local m = redis.call('HMGET', meta, 'y', 'f')
  local first, from = tonumber(m[1] or '0'), tonumber(m[2] or '0')
  if from < behind then first, from = behind, behind end
  while from <= tail do
    local run, size = get_run(queue, from)
    local start = from
    if size == 0 then start, run = find_run(queue, from) end
    if run then
      split_field(queue, start, run, head)
      size = redis.call('HSTRLEN', queue, from)
    end
    from = from + 1
    if size > 0 then
      redis.call('HDEL', queue, from - 1)
      redis.call('HSET', meta, 'y', first, 'f', from)
      return size
    end
    -- A hole behind a lost tail is long.
    local final = hole_end(meta, from - 1, from - 1)
    if final then from = final + 1 end
  end
  redis.call('HSET', meta, 'y', first, 'f', from)
  return nil
end

-- Removes the runs and fields that end below `to`, of those that hold the seqs `first` to `last`, all done. Answers how many
-- of these seqs were not done before, and the first seq of the run that goes on ('' none). `start` is that of the one before.
local function remove_runs(queue, first, last, head, to, start)
  local names, taken, left, at = {}, 0, '', first
  if start < first and start > 0 then
    local run = get_run(queue, digits(start))
    if run and start + entries_of(run) > first then at = start end
  end
  while at <= last do
    local run, size = get_run(queue, digits(at))
    local count = run and entries_of(run) or size > 0 and 1 or 0
    if count > 0 then
      taken = taken + math.max(0, math.min(at + count - 1, last) - math.max(at, first, head) + 1)
      if at + count <= to then
        names[#names + 1] = digits(at)
      else
        left = digits(at)
      end
    end
    at = at + math.max(count, 1)
  end
  if #names > 0 then redis.call('HDEL', queue, unpack(names)) end
  return taken, left
end

-- Splits all runs up to `last`, some of whose entries are to have a state of their own.
local function split_runs(meta, queue, head, last, start)
  local at = head
  if start < head and start > 0 then at = start end
  while at <= last do
    local run, size = get_run(queue, digits(at))
    if run then split_field(queue, at, run, head) end
    at = at + (run and entries_of(run) or 1)
    local final = size == 0 and hole_end(meta, at - 1, at - 1)
    if final then at = final + 1 end
  end
end
