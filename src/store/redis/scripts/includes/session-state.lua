-- What every enqueue and acknowledgement reads and writes of a session, as one value (field s of META): a field of a hash
-- costs a script most of a microsecond to read and two to write. Whole numbers, exact up to 2^53: life, owner's
-- epoch, head and tail of the queue, its bytes, cut, its messages, by how much fewer its fields are (runs, queue-runs.lua), how
-- far behind the first seq of its run the head is (and a bit of released-range.lua), when the owner sent the last call that
-- changed what it alone changes (ms of its own clock, 0 none since the claim); then the history id of the last touch.
-- The value must not be longer than 64 bytes, up to which Redis keeps a hash compact (hash-max-listpack-value). Without it
-- there is no session.
local STATE = '>I7I7I7I7I6I7I4I4BI5s'

local function pack_state(life, epoch, head, tail, bytes, cut, history, messages, packed, offset, stamp)
  return struct.pack(STATE, life, epoch, head, tail, bytes, cut, messages, packed, offset, stamp, history)
end

-- Answers life, epoch, head, tail, bytes, cut, history id, messages, how many fields fewer, where the head is in its run
-- and the stamp of its owner, or nothing where there is no session.
local function unpack_state(state)
  if not state then return end
  local life, epoch, head, tail, bytes, cut, messages, packed, offset, stamp, history = struct.unpack(STATE, state)
  return life, epoch, head, tail, bytes, cut, history, messages, packed, offset, stamp
end
