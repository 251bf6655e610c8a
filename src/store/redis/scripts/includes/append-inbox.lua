-- Adds entries to a node's inbox, never to one that is gone, and trims the oldest beyond the bound of its bytes. Answers
-- whether the inbox is there. An entry is a list of fields, name and value in turn; what it says is d's value, or all of
-- them joined: Lua makes a string only by looking at each of its bytes, so that what is there already is not joined here.
local function bytes_of_fields(fields)
  local bytes = 0
  for at = 1, #fields do bytes = bytes + #fields[at] end
  return bytes
end

local function append_inbox(inbox, state, max_bytes, entries)
  local bytes = redis.call('HGET', state, 'b')
  if not bytes then return false end
  bytes = tonumber(bytes)
  for at = 1, #entries do
    bytes = bytes + bytes_of_fields(entries[at])
    redis.call('XADD', inbox, '*', unpack(entries[at]))
  end
  while bytes > max_bytes do
    local oldest = redis.call('XRANGE', inbox, '-', '+', 'COUNT', 2)
    if #oldest < 2 then break end
    bytes = bytes - bytes_of_fields(oldest[1][2])
    redis.call('XDEL', inbox, oldest[1][1])
  end
  redis.call('HSET', state, 'b', bytes)
  return true
end
