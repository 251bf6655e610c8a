-- Takes what is in line for up to 32 sessions: messages to enqueue, acknowledgements, QoS 2 receptions, reads.
-- Atomic per call, so that the seqs a call gives out, the entries and the byte count agree whatever is cut off; the parts
-- of a session run in the order of their submission. One HMGET and one HSET of the session's record serve all of them.
-- Repeating a call is harmless: entries come twice (QoS 1) or are known by their mark (QoS 2), everything else is
-- compared with what is there. When memory is full, parts that add messages are answered 6 and all others run.
-- KEYS[1] counts of one bucket of the call
-- KEYS[2...] for each node of the call: inbox, inbox state; then for each session: record, queue; with flag 1 marks, notes, marked; with flag 2 inbound; with flag 4 marks of
--   messages of shared subscriptions
-- ARGV[1] history id
-- ARGV[2...] texts: the shared bodies, the nodes' incarnations, the owners' incarnations; then for each session: client id (with
--   flag 1); of each field of receptions its name, the records that stay and the new ones (reception-changes.ts), where it has
--   such; of each part what is named there. Last of all
-- ARGV[...] the numbers of the call, packed (packed-numbers.ts): when the sender wrote it, ms of its own clock (d: what an owner
--   alone changes is not changed by a call that it wrote before, whose bytes come late behind a cut connection); most messages
--   and most bytes of a queue, most bytes of an inbox, life of a mark in ms (d); window that may have been sent, from the head
--   on (i4); 1: a full queue rejects, 0: it drops its oldest (B); how many shared bodies (H), nodes, owners, sessions (B). For
--   each session: flags (B), number of parts (H), number of a node or 0 (B); with flag 2 receptions: number of the owner (B),
--   epoch (d), number of new records, of fields (H), of each field whether it has records that stay (1), new ones (2) (B). Where
--   that node is the session's owner, messages with a head go into its inbox too, those of one part as a run (inbox-run.ts), if
--   all are queued. The parts, each behind its kind (B):
--   0 (enqueue) count (H), life, version (d), shape (B); texts: with a node and shape 0, 2, 16 or 18 the head of the run (''
--     none), then each message: entry (or with 1 in the shape header, and in the numbers that of a shared body, H); with 16 in
--     place of the messages number of values (H) and of each its messages (H), and as text itself, a run (queue-runs.lua) or an
--     entry; with 2 number of runs of marks (H), of each slot within its field and number of messages (B), and as texts the
--     field and the mids as doubles, which rise; 4 is for messages of shared subscriptions; with 8 the noted topic of each
--   1 (acknowledge) owner (B), epoch, head, bytes (d), counts of done and released seqs (i4), 1 where it is told how those lie
--     in the queue, 2 how these do (B); then of each count below 0 the first of so many seqs in a row (d), else the seqs are
--     texts; then the texts that tell (queue-removal.lua, released-range.lua)
--   2 (pull) owner (B), epoch, from, count, bytes (d)
-- Reply: flat list, for each session with flag 2: 0 mid of the first new record (0 when memory is too full) | 1 (fenced);
--   for each part: enqueue 0 first owner | 8 first (the session's node is the owner and has them) | 2 (gone) | 3 cut (stale) | 4 owner dropped seqs (0 duplicate, -1
--   rejected, -2 gone), with dropped above 0 also the messages that each dropped; behind either, of shared subscriptions,
--   the queue's length from the head | 6 (memory is full) | 7 (a message before it is stale); acknowledge 0 tail | 1 (fenced);
--   pull 0 first tail n entries | 1
-- Complexity: O(messages + seqs), bounded by the sender (about 2,500 messages and sessions); a drop is O(1) amortised.
--- @include "store-time"
--- @include "session-state"
--- @include "history-jump"
--- @include "pull-entries"
--- @include "push-runs"
--- @include "fields"
--- @include "marks"
--- @include "queue-runs"
--- @include "queue-removal"
local ENQUEUE, ACKNOWLEDGE = 0, 1
local keys, argv, call, take, byte = KEYS, ARGV, redis.call, struct.unpack, string.byte
local numbers = argv[#argv]
local sent_at, max_messages, max_bytes, max_inbox_bytes, mark_life_ms, window, rejecting, body_count, node_count, owner_count,
  session_count, p = take('>dddddi4BHBBB', numbers)
local history, is_rejecting = argv[1], rejecting == 1
-- The texts of nodes and owners, by their numbers.
local nodes_at, owners_at = 1 + body_count, 1 + body_count + node_count
local at, key = owners_at + owner_count + 1, 2 + 2 * node_count
local reply, n = {}, 0
local queued, queued_bytes = 0, 0

-- The write of every call. It also tells whether memory is full; then an HDEL, which Redis allows, opens the rest.
local is_full = false
local probe = redis.pcall('HINCRBY', keys[1], 'q', 0)
if type(probe) == 'table' and probe.err then
  if not string.find(probe.err, 'OOM', 1, true) then return probe end
  is_full = true
  call('HDEL', keys[1], '')
end

-- The time does not pass while a script runs, and asking for it costs as much as a write.
local started_us
local function now_us()
  started_us = started_us or time_us()
  return started_us
end

for _ = 1, session_count do
  local flags, parts, node
  flags, parts, node, p = take('>BHB', numbers, p)
  local meta, queue = keys[key], keys[key + 1]
  local marks, notes, marked, inbound, client, group_marks
  key = key + 2
  if flags % 2 == 1 then
    marks, notes, marked, client = keys[key], keys[key + 1], keys[key + 2], argv[at]
    at, key = at + 1, key + 3
  end
  if flags % 4 >= 2 then
    inbound = keys[key]
    key = key + 1
  end
  if flags >= 4 then
    group_marks = keys[key]
    key = key + 1
  end
  local m = inbound and call('HMGET', meta, 's', 'i', 'm') or call('HMGET', meta, 's', 'i')
  local last_mid = m[3]
  local owner, life, epoch, head, tail, bytes, cut, touched, messages, packed, offset, stamp = m[2], unpack_state(m[1])
  if life and touched ~= history then
    tail, head = jump_history(meta, history, life, epoch, head, tail, bytes, cut, messages, packed, offset, stamp)
  end
  -- The range is read where it matters.
  local has_range, low, high, new_range = life and offset >= RANGE_BIT, nil, nil, nil
  if has_range then offset = offset - RANGE_BIT end
  local is_changed, is_stale, has_of_group, bytes_before, new_mid = false, false, false, bytes, nil

  if inbound then
    local owner_at, claimed, count, fields
    owner_at, claimed, count, fields, p = take('>BdHH', numbers, p)
    local is_owner = life and owner == argv[owners_at + owner_at] and epoch == claimed and sent_at >= stamp
    local first, mids = 0, ''
    if is_owner and count > 0 and not is_full then
      first = math.max(tonumber(last_mid or '0') + 1, now_us())
      mids = struct.pack('>d', first)
      new_mid = digits(first + count - 1)
    end
    for place = p, p + fields - 1 do
      local forms, name, value = byte(numbers, place), argv[at], ''
      at = at + 1
      if forms % 2 == 1 then value, at = argv[at], at + 1 end
      if forms >= 2 then
        if not is_full then value = value .. mids .. argv[at] end
        at = at + 1
      end
      if is_owner and value == '' then
        call('HDEL', inbound, name)
      elseif is_owner then
        call('HSET', inbound, name, value)
      end
    end
    p = p + fields
    if is_owner then
      reply[n + 1], reply[n + 2] = 0, first
      n = n + 2
      is_changed, stamp = true, sent_at
    else
      n = n + 1
      reply[n] = 1
    end
  end

  for _ = 1, parts do
    local kind = byte(numbers, p)
    if kind == ENQUEUE then
      local count, wanted_life, version, shape
      count, wanted_life, version, shape, p = take('>HddB', numbers, p + 1)
      local is_of_group, is_marked, is_noting = shape % 8 >= 4, shape % 4 >= 2, shape % 16 >= 8
      local is_run, is_shared = shape >= 16, shape % 2 == 1
      local run_head
      if node > 0 and (shape % 16 == 0 or shape % 16 == 2) then
        run_head, at = argv[at] ~= '' and argv[at], at + 1
      end
      local values_count = count
      if is_run then values_count, p = take('>H', numbers, p) end
      local start, counts_at = at, p
      if is_run or is_shared then p = p + 2 * values_count end
      at = at + values_count
      local marks_at, runs_at, runs = at, p, 0
      if is_marked then
        runs, runs_at = take('>H', numbers, p)
        at, p = at + 2 * runs, runs_at + 2 * runs
      end
      local topics_at = at - 1
      if is_noting then at = at + count end
      if is_full or is_stale then
        n = n + 1
        reply[n] = is_full and 6 or 7
      elseif life ~= wanted_life and is_of_group and is_marked then
        -- The life that is over may have taken it: then it was given to this group, and to nobody else.
        reply[n + 1], reply[n + 2], reply[n + 3] = 4, '', 0
        n = n + 3
        local names, places, mids = spread_runs(marks_at, numbers, runs_at, runs)
        local values = read_marks(group_marks, names)
        for index = 1, count do
          local is_known = struct.unpack('>d', mids[index]) <= mid_at(values[names[index]], places[index])
          n = n + 1
          reply[n] = is_known and 0 or -2
        end
        n = n + 1
        reply[n] = 0
      elseif life ~= wanted_life then
        n = n + 1
        reply[n] = 2
      elseif version < cut then
        -- What was submitted later does not overtake it: it may be sent again in its place.
        is_stale = true
        reply[n + 1], reply[n + 2] = 3, cut
        n = n + 2
      else
        local first, added, args, a, counts = tail + 1, 0, {}, 0, nil
        if is_run then
          args, counts, added = read_values(start, numbers, counts_at, values_count)
          a = 2 * values_count
        else
          for index = 0, count - 1 do
            local entry = argv[start + index]
            if is_shared then entry = entry .. argv[1 + take('>H', numbers, counts_at + 2 * index)] end
            args[a + 2] = entry
            a = a + 2
            added = added + #entry
          end
        end
        local is_limited = messages + count > max_messages or bytes + added > max_bytes
        local home, is_plain = is_of_group and group_marks or marks, true
        local names, values
        if is_marked then names, values, is_plain = read_runs(home, marks_at, runs) end
        if is_plain and not is_noting and not is_limited then
          if names then
            local now_ms = math.floor(now_us() / 1000)
            for run = 1, #names do
              local name, mids = names[run], argv[marks_at + 2 * run - 1]
              local highest = struct.unpack('>d', mids, #mids - 7)
              values[name] = with_mids(values[name], byte(numbers, runs_at + 2 * run - 2), mids, highest, now_ms)
            end
            write_marks(home, marked, client, values, now_ms, mark_life_ms)
          end
          local is_told = run_head and owner == argv[nodes_at + node]
          if count == 1 then
            call('HSET', queue, digits(first), args[2])
          elseif is_run then
            local seq = first
            for index = 1, values_count do
              args[2 * index - 1] = digits(seq)
              if is_told then
                local value = args[2 * index]
                local lengths = counts[index] == 1 and struct.pack('>BHI4', RUN, 1, #value) or ''
                add_run(node, seq, run_head .. lengths, { false, value }, 1)
              end
              seq = seq + counts[index]
            end
            set_fields(queue, args, a)
          else
            put_seqs(args, 2, first, count)
            set_fields(queue, args, a)
          end
          tail, bytes, queued, messages = tail + count, bytes + added, queued + count, messages + count
          if is_run then packed = packed + count - values_count end
          if is_told then
            if not is_run then add_run(node, first, run_head, args, count) end
            reply[n + 1], reply[n + 2] = 8, first
            n = n + 2
          else
            reply[n + 1], reply[n + 2], reply[n + 3] = 0, first, owner
            n = n + 3
          end
        else
          if is_run then
            local entries, e = {}, 0
            for index = 1, values_count do
              local value = args[2 * index]
              for _, entry in ipairs(counts[index] > 1 and split_run(value) or { value }) do
                e = e + 2
                entries[e] = entry
              end
            end
            args = entries
          end
          if is_limited then low, high = range_of(meta, has_range, low, high) end
          local written, noted, now_ms, places, mids = {}, {}, 0, {}, {}
          if names then
            now_ms = math.floor(now_us() / 1000)
            names, places, mids = spread_runs(marks_at, numbers, runs_at, runs)
          end
          -- Nobody reads retained messages for it: then nobody asks for the topics.
          local is_read = is_noting and call('HGET', meta, 'q')
          local seqs, drops, dropped, fields, f = {}, {}, 0, {}, 0
          for index = 1, count do
            local entry, seq = args[2 * index], nil
            drops[index] = 0
            local name, mid = names and names[index], nil
            if name then
              mid = struct.unpack('>d', mids[index])
              if mid <= mid_at(values[name], places[index]) then seq = 0 end
            end
            if not seq and is_limited then
              while messages + 1 > max_messages or bytes + #entry > max_bytes do
                if is_rejecting then
                  seq = -1
                  break
                end
                local size, split, start = drop_oldest(meta, queue, head + window, tail, head, low, high)
                packed = packed - split
                if split > 0 and start <= head then offset = 0 end
                if not size then break end
                messages, bytes, queued = messages - 1, bytes - size, queued - 1
                drops[index], dropped = drops[index] + 1, dropped + 1
              end
            end
            if not seq then
              tail = tail + 1
              seq = tail
              bytes, messages, queued = bytes + #entry, messages + 1, queued + 1
              if is_limited then
                call('HSET', queue, seq, entry)
              else
                fields[f + 1], fields[f + 2] = seq, entry
                f = f + 2
              end
              if name then
                local value = values[name]
                local highest = math.max(mid, value and (struct.unpack('>d', value)) or 0)
                values[name] = with_mids(value, places[index], mids[index], highest, now_ms)
                written[name] = values[name]
              end
              if is_read then noted[#noted + 1] = argv[topics_at + index] end
            end
            seqs[index] = seq
          end
          if f > 0 then set_fields(queue, fields, f) end
          write_marks(home, marked, client, written, now_ms, mark_life_ms)
          for from = 1, #noted, 4000 do
            call('SADD', notes, unpack(noted, from, math.min(from + 3999, #noted)))
          end
          reply[n + 1], reply[n + 2], reply[n + 3] = 4, owner, dropped
          for index = 1, count do reply[n + 3 + index] = seqs[index] end
          n = n + 3 + count
          if dropped > 0 then
            for index = 1, count do reply[n + index] = drops[index] end
            n = n + count
          end
        end
        if is_of_group then
          n = n + 1
          reply[n] = tail - head + 1
          has_of_group = has_of_group or tail >= first
        end
        is_changed = true
      end
    elseif kind == ACKNOWLEDGE then
      local owner_at, claimed, to, size, done, released, tells
      owner_at, claimed, to, size, done, released, tells, p = take('>Bdddi4i4B', numbers, p + 1)
      local is_owner = life and owner == argv[owners_at + owner_at] and epoch == claimed and sent_at >= stamp
      if is_owner and to > tail + 1 then to = head end
      local is_packed = is_owner and packed > 0
      if is_owner and not is_packed then has_range = false end
      local seqs, begin, last, is_all = argv, at, at + done - 1, false
      if done < 0 then
        local first_done
        first_done, p = take('>d', numbers, p)
        seqs, begin, last = {}, 1, -done
        -- All from the head to the new one.
        is_all = is_owner and first_done == head and first_done + last == to
        if not (is_all and is_packed) then put_seqs(seqs, 1, first_done, last) end
      else
        at = at + done
        if done == 1 then is_all = is_owner and tonumber(argv[begin]) == head and head + 1 == to end
      end
      local of_released, first_released, last_released, released_from = argv, at, at + released - 1, nil
      if released < 0 then
        released_from, p = take('>d', numbers, p)
      elseif released > 0 then
        released_from, at = tonumber(argv[at]), at + released
      end
      local told, told_released, is_in_range = '', '', false
      if tells % 2 == 1 then told, at = argv[at], at + 1 end
      if tells >= 2 then told_released, at = argv[at], at + 1 end
      if is_all and is_packed then
        if told_released ~= '' then size = size - struct.unpack('>d', told_released, 9) end
        local taken, freed = to - head, size
        if released ~= 0 and told_released == '' then told = '' end
        local unpacked, told_left = remove_told(queue, told, head, to, offset)
        if unpacked then
          offset = told_left
        else
          low, high = range_of(meta, has_range, low, high)
          taken, freed, unpacked, offset = remove_head(meta, queue, head, to, offset, low, high)
        end
        packed, head, begin, last = packed - unpacked, to, 1, 0
        bytes, queued, messages = math.max(0, bytes - freed), queued - taken, messages - taken
      end
      local is_left = is_packed and (begin <= last or released ~= 0 or to > head)
      if is_left then low, high = range_of(meta, has_range, low, high) end
      if is_left and begin > last and to <= head and (released < 0 or released == 1) then
        local last_seq = released_from + math.abs(released) - 1
        local from_range, to_range, freed =
          release_range(queue, told_released, released_from, last_seq, head, tail, low, high)
        if from_range then
          is_in_range, has_range, low, high = true, true, from_range, to_range
          new_range, bytes = struct.pack('>dd', low, high), math.max(0, bytes - freed)
        end
      end
      if released < 0 and not is_in_range then
        of_released, first_released, last_released = {}, 1, -released
        put_seqs(of_released, 1, released_from, last_released)
      end
      if is_left and not is_in_range then
        -- What has a state of its own gets a field of its own.
        local removed, freed, names = 0, 0, {}
        local function single(seq)
          local size_of, split, first = single_out(queue, seq, head, low, high)
          packed = packed - split
          if first and first <= head then offset = 0 end
          return size_of
        end
        for index = begin, last do
          local seq = tonumber(seqs[index])
          local size_of = seq >= head and single(seq) or 0
          if size_of > 0 then
            names[#names + 1] = seqs[index]
            removed, freed = removed + 1, freed + size_of
          end
        end
        remove_fields(queue, names, 1, #names)
        for index = first_released, last_released do
          local seq = tonumber(of_released[index])
          if seq >= head and seq <= tail then
            local size_of = single(seq)
            freed = freed + size_of - #PUBREL_ENTRY
            if size_of == 0 then
              removed = removed - 1
              cut_hole(meta, seq)
            end
            call('HSET', queue, of_released[index], PUBREL_ENTRY)
          end
        end
        if to > head then
          if has_jumped(meta) then
            local taken, left, unpacked
            taken, left, unpacked, offset = remove_head(meta, queue, head, to, offset, low, high)
            removed, freed, packed = removed + taken, freed + left, packed - unpacked
          else
            if offset > 0 then single(head) end
            offset = 0
          end
          head = to
        end
        bytes, queued, messages = math.max(0, bytes - freed), queued - removed, messages - removed
      elseif is_owner and not is_packed then
        local removed, created, is_again, args = remove_fields(queue, seqs, begin, last), 0, false, {}
        for index = first_released, last_released do
          local seq = tonumber(of_released[index])
          if seq >= head and seq <= tail then
            args[#args + 1], args[#args + 2] = of_released[index], PUBREL_ENTRY
          end
        end
        if #args > 0 then
          is_again = removed == 0 and call('HSTRLEN', queue, args[1]) == #PUBREL_ENTRY
          created = set_fields(queue, args, #args)
          for place = 1, created > 0 and #args or 0, 2 do cut_hole(meta, tonumber(args[place])) end
        end
        -- A repetition finds nothing to change and must not count the bytes again.
        if removed > 0 or #args > 0 and not is_again then bytes = math.max(0, bytes - size) end
        if to > head then
          if (not is_all or released ~= 0) and has_jumped(meta) then
            local taken, left = remove_head(meta, queue, head, to, 0)
            removed, bytes = removed + taken, math.max(0, bytes - left)
          end
          head = to
        end
        queued, messages = queued + created - removed, messages + created - removed
      end
      if is_owner then
        if head > tail then bytes = 0 end
        reply[n + 1], reply[n + 2] = 0, tail
        n = n + 2
        is_changed, stamp = true, sent_at
      else
        n = n + 1
        reply[n] = 1
      end
    else
      local owner_at, claimed, from, count, most
      owner_at, claimed, from, count, most, p = take('>Bdddd', numbers, p + 1)
      if life and owner == argv[owners_at + owner_at] and epoch == claimed then
        low, high = range_of(meta, has_range, low, high)
        -- Below the head there is nothing; it is far where an empty queue has jumped.
        local first, entries = pull_entries(meta, queue, math.max(from, head), count, most, tail, low, high)
        reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = 0, first, tail, #entries
        n = n + 4
        for index = 1, #entries do reply[n + index] = entries[index] end
        n = n + #entries
      else
        n = n + 1
        reply[n] = 1
      end
    end
  end
  if is_changed then
    bytes, messages = math.max(bytes, 0), math.max(messages, 0)
    if has_range then offset = offset + RANGE_BIT end
    local state = pack_state(life, epoch, head, tail, bytes, cut, history, messages, packed, offset, stamp)
    if new_mid and new_range then call('HSET', meta, 'g', new_range) end
    if new_mid or new_range then
      call('HSET', meta, 's', state, new_mid and 'm' or 'g', new_mid or new_range)
    else
      call('HSET', meta, 's', state)
    end
    if has_of_group then call('HSET', meta, 'j', '1') end
    queued_bytes = queued_bytes + bytes - bytes_before
  end
end
append_runs(node_count, max_inbox_bytes)
if queued ~= 0 then call('HINCRBY', keys[1], 'q', queued) end
if queued_bytes ~= 0 then call('HINCRBY', keys[1], 'w', queued_bytes) end
return reply
