-- Fields of hashes, many at a time.
--- @include "store-time"
local LAST_DIGITS = { '0', '1', '2', '3', '4', '5', '6', '7', '8', '9' }

-- Puts so many seqs into `args`, from place 1 on, `step` places apart. Redis formats a number with room for a fraction, which
-- costs more than the write it is for: ten seqs share the digits before their last.
local function put_seqs(args, step, first, count)
  local tens, head = -1, ''
  for index = 0, count - 1 do
    local seq = first + index
    local last = seq % 10
    local rest = (seq - last) / 10
    if rest ~= tens then
      tens, head = rest, rest > 0 and digits(rest) or ''
    end
    args[step * index + 1] = head .. LAST_DIGITS[last + 1]
  end
end

-- HSET with many fields, within the limit of Lua's stack. Answers how many were not there.
local function set_fields(name, args, count)
  local created = 0
  for from = 1, count, 4000 do
    created = created + redis.call('HSET', name, unpack(args, from, math.min(from + 3999, count)))
  end
  return created
end

-- HDEL of the fields `first` to `last` of a list, likewise. Answers how many were there.
local function remove_fields(name, fields, first, last)
  local removed = 0
  for from = first, last, 4000 do
    removed = removed + redis.call('HDEL', name, unpack(fields, from, math.min(from + 3999, last)))
  end
  return removed
end
