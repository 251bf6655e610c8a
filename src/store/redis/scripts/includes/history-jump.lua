-- The store may be older than what nodes have seen of it (a master with another history id): seqs up to the old tail may
-- have been given out and forgotten. The first touch under a new history moves the tail beyond all of them and records
-- the hole, so that no seq, and no packet id, is used twice. Holes below the head are forgotten; an empty queue needs no
-- hole, its head moves along. Answers the new tail and head.
-- What is lost may itself have been given out behind a jump from the very same tail. So a jump goes by the time: each tick
-- has numbers of its own, more than any queue can be given until the next one. Packet ids repeat every 65,535 seqs, and a
-- client may hold those of every lost tail for as long as its session lives: by one tick ids move by the golden section of
-- that, so that jumps some ticks apart keep away from each other by thousands of ids (a half would be back at the first one
-- with the second). Where the time is behind the tail (another master's clock), the jump goes on from there, by the time too;
-- a later one may be below it then, which the owner notices (session/pump.ts), as no rule of the tail and the time can.
-- What was given out where nothing had been lost yet goes by no tick: a jump keeps away from where this one and those before
-- it began (META field b, the latest first), since each lost tail began at one of them. Each move away for that is by another
-- angle, so that within a second no two jumps are nearer than 471 ids, whatever each of them kept away from, and all moves
-- end before the numbers of the next tick.
local PACKET_IDS, GOLDEN, TICKS_PER_SECOND, FIRST_SECOND = 65535, 25033, 20, 1735689600
local TICK, MOVE, MOVES, TICKS_BEHIND = GOLDEN + 2 * PACKET_IDS, 26627, 4, 1024
local LEAST_APART, BASES = 8192, 4

-- Whether the ids behind `tail` come near to those behind one of `bases`; half as near is allowed for all but the first.
local function is_near(tail, bases)
  for index, base in ipairs(bases) do
    local apart, least = (tail - base) % PACKET_IDS, index == 1 and LEAST_APART or LEAST_APART / 2
    if apart < least or apart > PACKET_IDS - least then return true end
  end
  return false
end

local function jump_history(meta, history, life, epoch, head, tail, bytes, cut, messages, packed, offset, stamp)
  local base = math.max(tail, head - 1)
  local m = redis.call('HMGET', meta, 'o', 'b')
  local bases, holes = { base }, {}
  for before in string.gmatch(m[2] or '', '%d+') do
    if #bases < BASES then bases[#bases + 1] = before end
  end
  for from, to in string.gmatch(m[1] or '', '(%d+)%-(%d+)') do
    if tonumber(to) >= head then holes[#holes + 1] = from .. '-' .. to end
  end
  local time = redis.call('TIME')
  local ticks = math.floor((time[1] - FIRST_SECOND + time[2] / 1000000) * TICKS_PER_SECOND)
  tail = ticks * TICK
  if tail <= base then tail = base + (1 + ticks % TICKS_BEHIND) * TICK end
  for _ = 1, MOVES do
    if not is_near(tail, bases) then break end
    tail = tail + MOVE
  end
  bases[1] = string.format('%.0f', base)
  if head > base then
    head = tail + 1
    holes = {}
  else
    holes[#holes + 1] = string.format('%.0f-%.0f', base + 1, tail)
  end
  redis.call('HSET', meta, 's', pack_state(life, epoch, head, tail, bytes, cut, history, messages, packed, offset, stamp),
    'o', table.concat(holes, ','), 'b', table.concat(bases, ','))
  return tail, head
end
