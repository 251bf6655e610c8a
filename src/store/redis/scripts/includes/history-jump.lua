-- The store may be older than what nodes have seen of it (a master with another history id): seqs up to the old tail may
-- have been given out and forgotten. The first touch under a new history moves the tail beyond all of them and records
-- the hole, so that no seq, and no packet id, is used twice. Holes below the head are forgotten; an empty queue needs no
-- hole, its head moves along. Answers the new tail and head. Packet ids repeat every 65,535 seqs, and a client may hold
-- those of every lost tail for as long as its session lives: the jump is the golden section of that, so that eight of
-- them keep away from each other by 3,600 ids and more (a half would be back at the first one with the second).
local HISTORY_JUMP = 25033

local function jump_history(meta, history, head, tail)
  local base = math.max(tail, head - 1)
  local holes = {}
  for from, to in string.gmatch(redis.call('HGET', meta, 'o') or '', '(%d+)%-(%d+)') do
    if tonumber(to) >= head then holes[#holes + 1] = from .. '-' .. to end
  end
  tail = base + HISTORY_JUMP
  if head > base then
    head = tail + 1
    holes = {}
  else
    holes[#holes + 1] = string.format('%.0f-%.0f', base + 1, tail)
  end
  redis.call('HSET', meta, 'h', head, 't', tail, 'g', history, 'o', table.concat(holes, ','))
  return tail, head
end
