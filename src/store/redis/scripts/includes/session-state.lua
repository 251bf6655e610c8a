-- What every enqueue and acknowledgement reads and writes of a session, as one value (field s of META): a field of a hash
-- costs a script most of a microsecond to read and two to write. Whole numbers as doubles, exact up to 2^53: life, owner's
-- epoch, head and tail of the queue, its bytes (6 bytes), cut, its messages (4 bytes); then the history id of the last touch.
-- The value must not be longer than 64 bytes, up to which Redis keeps a hash compact (hash-max-listpack-value). Without it
-- there is no session.
local STATE = '>ddddI6dI4s'

local function pack_state(life, epoch, head, tail, bytes, cut, history, messages)
  return struct.pack(STATE, life, epoch, head, tail, bytes, cut, messages, history)
end

-- Answers life, epoch, head, tail, bytes, cut, history id and messages, or nothing where there is no session.
local function unpack_state(state)
  if not state then return end
  local life, epoch, head, tail, bytes, cut, messages, history = struct.unpack(STATE, state)
  return life, epoch, head, tail, bytes, cut, history, messages
end
