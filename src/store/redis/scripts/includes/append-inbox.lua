-- Adds entries to a node's inbox, never to one that is gone, and trims the oldest beyond the bound of its bytes. Answers
-- whether the inbox is there.
local function append_inbox(inbox, state, max_bytes, entries)
  local bytes = redis.call('HGET', state, 'b')
  if not bytes then return false end
  bytes = tonumber(bytes)
  for at = 1, #entries do
    bytes = bytes + #entries[at]
    redis.call('XADD', inbox, '*', 'd', entries[at])
  end
  while bytes > max_bytes do
    local oldest = redis.call('XRANGE', inbox, '-', '+', 'COUNT', 2)
    if #oldest < 2 then break end
    bytes = bytes - #oldest[1][2][2]
    redis.call('XDEL', inbox, oldest[1][1])
  end
  redis.call('HSET', state, 'b', bytes)
  return true
end
