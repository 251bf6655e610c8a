-- Marks, by which a repetition of a QoS 2 message or a will is known: of 32 slots of one publisher as one value, the
-- highest mid of all, the time of the last use (ms), then the highest mid taken of each slot (doubles, 0 none).
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
