-- When the owner of a session was last heard of (ms): by the last renewal of its lease, or by its claim, which stands even
-- where that node was dead by then and did not know it. `epoch` has the time of the claim; `again`: when it was repeated,
-- since its client is told only then. An epoch that is ahead, because the clock was set back, counts as now.
local function last_heard_ms(renewed, epoch, again, now_ms)
  local claimed = math.max(math.floor(tonumber(epoch or '0') / 1000), tonumber(again or '0'))
  return math.max(renewed, math.min(claimed, now_ms))
end
