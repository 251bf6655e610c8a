-- Marks, by which a repetition of a QoS 2 message or a will is known: of 32 slots of one publisher as one value, the
-- highest mid of all, the time of the last use (ms), then the highest mid taken of each slot (doubles, 0 none).
--- @include "fields"
local NO_MIDS = string.rep('\0', 256)

-- The highest mid taken of a slot, by its place within the value.
local function mid_at(value, place)
  if not value or #value < 24 + 8 * place then return 0 end
  return (struct.unpack('>d', value, 17 + 8 * place))
end

-- The value with the mids (packed) of the slots from `place` on; `highest` of all.
local function with_mids(value, place, mids, highest, now_ms)
  local old = value and string.sub(value, 17) or ''
  local before = string.sub(old, 1, 8 * place)
  if #before < 8 * place then before = before .. string.sub(NO_MIDS, 1, 8 * place - #before) end
  return struct.pack('>dd', highest, now_ms) .. before .. mids .. string.sub(old, 8 * place + #mids + 1)
end

-- The values of some fields, by field.
local function read_marks(home, fields)
  local values = {}
  for from = 1, #fields, 4000 do
    local some = redis.call('HMGET', home, unpack(fields, from, math.min(from + 3999, #fields)))
    for index = 1, #some do values[fields[from + index - 1]] = some[index] end
  end
  return values
end

-- The runs of marks of a part, whose texts begin at `at`, field and mids of each: names of their fields, what these hold, and
-- whether the part is plain: all are new.
local function read_runs(home, at, count)
  local names, is_plain = {}, true
  for run = 1, count do names[run] = ARGV[at + 2 * run - 2] end
  local values, highest = read_marks(home, names), {}
  for run = 1, count do
    local name, mids = names[run], ARGV[at + 2 * run - 1]
    local known = highest[name] or values[name] and (struct.unpack('>d', values[name])) or 0
    if struct.unpack('>d', mids) <= known then is_plain = false end
    highest[name] = struct.unpack('>d', mids, #mids - 7)
  end
  return names, values, is_plain
end

-- Field, place within it and packed mid of each message of a part; the numbers at `place` are of each run its slot and messages.
local function spread_runs(at, numbers, place, count)
  local names, places, mids, n = {}, {}, {}, 0
  for run = 1, count do
    local name, packed = ARGV[at + 2 * run - 2], ARGV[at + 2 * run - 1]
    local slot, messages = string.byte(numbers, place + 2 * run - 2, place + 2 * run - 1)
    for index = 0, messages - 1 do
      n = n + 1
      names[n], places[n], mids[n] = name, slot + index, string.sub(packed, 8 * index + 1, 8 * index + 8)
    end
  end
  return names, places, mids
end

-- Writes the values, by field. The client is looked at by the sweep of marks.
local function write_marks(home, marked, client, values, now_ms, life_ms)
  local args = {}
  for name, value in pairs(values) do
    if value then args[#args + 1], args[#args + 2] = name, value end
  end
  if #args == 0 then return end
  set_fields(home, args, #args)
  redis.call('ZADD', marked, 'NX', digits(now_ms + life_ms), client)
end
