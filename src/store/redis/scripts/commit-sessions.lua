-- Takes what is in line for up to 32 sessions: messages to enqueue, acknowledgements, QoS 2 receptions, reads.
-- Atomic per call, so that the seqs a call gives out, the entries and the byte count agree whatever is cut off; the parts
-- of a session run in the order of their submission. One HMGET and one HSET of the session's record serve all of them.
-- Repeating a call is harmless: entries come twice (QoS 1) or are known by their mark (QoS 2), everything else is
-- compared with what is there. When memory is full, parts that add messages are answered 6 and all others run.
-- KEYS[1] counts of one bucket of the call
-- KEYS[2...] for each node of the call: inbox, inbox state; then for each session: record, queue; with flag 1 marks, notes, marked; with flag 2 inbound; with flag 8 marks of
--   messages of shared subscriptions
-- ARGV[1] history id
-- ARGV[2] most messages of a queue
-- ARGV[3] most bytes of a queue
-- ARGV[4] 1: a full queue rejects, 0: it drops its oldest
-- ARGV[5] window that may have been sent, from the head on
-- ARGV[6] life of a mark, ms
-- ARGV[7] sessions in this call
-- ARGV[8] number of shared bodies
-- ARGV[9] number of nodes
-- ARGV[10] most bytes of an inbox
-- ARGV[11] when the sender wrote the call, ms of its own clock: what an owner alone changes is not changed by a call that it
--   wrote before, whose bytes come late behind a cut connection
-- ARGV[12...] the shared bodies, the nodes' incarnations, then for each session: flags, number of parts, client id (with
--   flag 1), number of a node (with flag 16), with flag 2 receptions: incarnation, epoch, number of new records, number of
--   fields, and of each its name, the records that stay and the new ones (reception-changes.ts); the parts; or flag 4 with or without 16, that number, life, with flag 16 the
--   head of a run, and one message, of the version and shape of the last E before (0 or 1). Where that node is the owner,
--   messages with a head go into its inbox too, those of one part as a run (inbox-run.ts), if all are queued. The parts:
--   E count life version shape, with flag 16 and shape 0 or 2 the head of the run ('' none), then each message: entry
--     (or with 1 in the shape header and number of a shared body); with 2 in the shape number of runs of marks, and of
--     each field, slot within it, number of messages, their mids as doubles, which rise; 4 is for messages
--     of shared subscriptions; with 8 the noted topic of each message; with 16 in place of the messages number of values and
--     of each its messages and itself, a run (queue-runs.lua) or an entry
--   A incarnation epoch head bytes done-count seqs... released-count seqs..., how those and these lie in the queue or ''
--     (queue-removal.lua, released-range.lua); with a count below 0 only the first of so many seqs
--   P incarnation epoch from count bytes
-- Reply: flat list, for each session with flag 2: 0 mid of the first new record (0 when memory is too full) | 1 (fenced);
--   for each part: E 0 first owner | 8 first (the node of flag 16 is the owner and has them) | 2 (gone) | 3 cut (stale) | 4 owner dropped seqs (0 duplicate, -1
--   rejected, -2 gone), with dropped above 0 also the messages that each dropped; behind either, of shared subscriptions,
--   the queue's length from the head | 6 (memory is full) | 7 (a message before it is stale); A 0 tail | 1 (fenced);
--   P 0 first tail n entries | 1
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
local keys, argv, call = KEYS, ARGV, redis.call
local history, max_messages, max_bytes = argv[1], tonumber(argv[2]), tonumber(argv[3])
local is_rejecting, window, mark_life_ms = argv[4] == '1', tonumber(argv[5]), tonumber(argv[6])
local session_count, body_count = tonumber(argv[7]), tonumber(argv[8])
local node_count, max_inbox_bytes, sent_at = tonumber(argv[9]), tonumber(argv[10]), tonumber(argv[11])
local at, key = 12 + body_count + node_count, 2 + 2 * node_count
local reply, n = {}, 0
local queued, queued_bytes = 0, 0
local version, shape

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
  local flags, parts = tonumber(argv[at]), 1
  local meta, queue = keys[key], keys[key + 1]
  local marks, notes, marked, inbound, client, group_marks
  at, key = at + 1, key + 2
  local node, is_pushing = 0, flags >= 16
  if is_pushing then flags = flags - 16 end
  local is_alike = flags == 4
  if not is_alike then
    parts, at = tonumber(argv[at]), at + 1
  end
  if flags % 2 == 1 then
    marks, notes, marked, client = keys[key], keys[key + 1], keys[key + 2], argv[at]
    at, key = at + 1, key + 3
  end
  if is_pushing then
    node, at = tonumber(argv[at]), at + 1
  end
  if flags % 4 >= 2 then
    inbound = keys[key]
    key = key + 1
  end
  if flags >= 8 then
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
    local count, fields = tonumber(argv[at + 2]), tonumber(argv[at + 3])
    if life and owner == argv[at] and epoch == tonumber(argv[at + 1]) and sent_at >= stamp then
      local first, mids = 0, ''
      if count > 0 and not is_full then
        first = math.max(tonumber(last_mid or '0') + 1, now_us())
        mids = struct.pack('>d', first)
        new_mid = digits(first + count - 1)
      end
      for place = at + 4, at + 1 + 3 * fields, 3 do
        local value = argv[place + 1]
        if argv[place + 2] ~= '' and not is_full then value = value .. mids .. argv[place + 2] end
        if value == '' then
          call('HDEL', inbound, argv[place])
        else
          call('HSET', inbound, argv[place], value)
        end
      end
      reply[n + 1], reply[n + 2] = 0, first
      n = n + 2
      is_changed, stamp = true, sent_at
    else
      n = n + 1
      reply[n] = 1
    end
    at = at + 4 + 3 * fields
  end

  for _ = 1, parts do
    local kind = is_alike and 'E' or argv[at]
    if kind == 'E' then
      local count, wanted_life = 1, tonumber(argv[at])
      if is_alike then
        at = at + 1
      else
        count, wanted_life = tonumber(argv[at + 1]), tonumber(argv[at + 2])
        version, shape = tonumber(argv[at + 3]), tonumber(argv[at + 4])
        at = at + 5
      end
      local is_of_group, is_marked, is_noting = shape % 8 >= 4, shape % 4 >= 2, shape % 16 >= 8
      local is_run = shape >= 16
      local run_head
      if is_pushing and (shape % 16 == 0 or shape % 16 == 2) then
        run_head, at = argv[at] ~= '' and argv[at], at + 1
      end
      local values_count = count
      if is_run then values_count, at = tonumber(argv[at]), at + 1 end
      local start, stride = at, (is_run or shape % 2 == 1) and 2 or 1
      local marks_at = at + values_count * stride
      at = marks_at + (is_marked and 1 + 4 * tonumber(argv[marks_at]) or 0)
      local topics_at = at - 1
      if is_noting then at = at + count end
      if is_full or is_stale then
        n = n + 1
        reply[n] = is_full and 6 or 7
      elseif life ~= wanted_life and is_of_group and is_marked then
        -- The life that is over may have taken it: then it was given to this group, and to nobody else.
        reply[n + 1], reply[n + 2], reply[n + 3] = 4, '', 0
        n = n + 3
        local names, places, mids = spread_runs(marks_at)
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
          args, counts, added = read_values(start, values_count)
          a = 2 * values_count
        else
          for place = start, marks_at - 1, stride do
            local entry = argv[place]
            if stride == 2 then entry = entry .. argv[11 + tonumber(argv[place + 1])] end
            args[a + 2] = entry
            a = a + 2
            added = added + #entry
          end
        end
        local is_limited = messages + count > max_messages or bytes + added > max_bytes
        local home, is_plain = is_of_group and group_marks or marks, true
        local names, values
        if is_marked then names, values, is_plain = read_runs(home, marks_at) end
        if is_plain and not is_noting and not is_limited then
          if names then
            local now_ms = math.floor(now_us() / 1000)
            for run = 1, #names do
              local name, mids = names[run], argv[marks_at + 4 * run]
              local highest = struct.unpack('>d', mids, #mids - 7)
              values[name] = with_mids(values[name], tonumber(argv[marks_at + 4 * run - 2]), mids, highest, now_ms)
            end
            write_marks(home, marked, client, values, now_ms, mark_life_ms)
          end
          local is_told = run_head and owner == argv[11 + body_count + node]
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
            names, places, mids = spread_runs(marks_at)
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
    elseif kind == 'A' then
      local is_owner = life and owner == argv[at + 1] and epoch == tonumber(argv[at + 2]) and sent_at >= stamp
      local to, size, done = tonumber(argv[at + 3]), tonumber(argv[at + 4]), tonumber(argv[at + 5])
      if is_owner and to > tail + 1 then to = head end
      local is_packed = is_owner and packed > 0
      if is_owner and not is_packed then has_range = false end
      local seqs, begin, last, is_all = argv, at + 6, at + 5 + done, false
      if done < 0 then
        seqs, begin, last, done = {}, 1, -done, 1
        local first_done = tonumber(argv[at + 6])
        -- All from the head to the new one.
        is_all = is_owner and first_done == head and first_done + last == to
        if not (is_all and is_packed) then put_seqs(seqs, 1, first_done, last) end
      elseif done == 1 then
        is_all = is_owner and tonumber(argv[at + 6]) == head and head + 1 == to
      end
      local released, place = tonumber(argv[at + 6 + done]), at + 7 + done
      local of_released, first_released, last_released = argv, place, place + released - 1
      at = place + math.max(released, released < 0 and 1 or 0)
      local told, told_released, is_in_range = argv[at], argv[at + 1], false
      at = at + 2
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
        local from = tonumber(argv[place])
        local from_range, to_range, freed =
          release_range(queue, told_released, from, from + math.abs(released) - 1, head, tail, low, high)
        if from_range then
          is_in_range, has_range, low, high = true, true, from_range, to_range
          new_range, bytes = struct.pack('>dd', low, high), math.max(0, bytes - freed)
        end
      end
      if released < 0 and not is_in_range then
        of_released, first_released, last_released = {}, 1, -released
        put_seqs(of_released, 1, tonumber(argv[place]), last_released)
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
      if life and owner == argv[at + 1] and epoch == tonumber(argv[at + 2]) then
        low, high = range_of(meta, has_range, low, high)
        -- Below the head there is nothing; it is far where an empty queue has jumped.
        local from = math.max(tonumber(argv[at + 3]), head)
        local first, entries =
          pull_entries(meta, queue, from, tonumber(argv[at + 4]), tonumber(argv[at + 5]), tail, low, high)
        reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = 0, first, tail, #entries
        n = n + 4
        for index = 1, #entries do reply[n + index] = entries[index] end
        n = n + #entries
      else
        n = n + 1
        reply[n] = 1
      end
      at = at + 6
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
