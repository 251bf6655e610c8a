-- Removes marks that have not been used for their life, a page of a session's marks at a time.
-- Atomic, so that a mark used again meanwhile stays.
-- KEYS[1] marks
-- ARGV[1] cursor of HSCAN
-- ARGV[2] life of a mark, ms
-- Reply: {next cursor, marks removed, oldest use among those that stay (ms, 0 none)}
-- Complexity: O(page), about 200.
--- @include "store-time"
local now_ms = time_us() / 1000
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', 200)
local pairs_found, removed, oldest = page[2], 0, 0
for at = 1, #pairs_found, 2 do
  local _, used = struct.unpack('>dd', pairs_found[at + 1])
  if used + tonumber(ARGV[2]) <= now_ms then
    redis.call('HDEL', KEYS[1], pairs_found[at])
    removed = removed + 1
  elseif oldest == 0 or used < oldest then
    oldest = used
  end
end
return { page[1], removed, oldest }
