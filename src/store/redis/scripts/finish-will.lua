-- A taken will has been published: it leaves the index of taken wills. Repeating it changes nothing.
-- Atomic, because the wills of a client share one value.
-- KEYS: session keys (includes/session-keys.lua)
-- ARGV[1] history id (not used: the same arguments for all of a session's scripts)
-- ARGV[2] token of this call (not used: the same arguments for all of a session's scripts)
-- ARGV[3] client id
-- ARGV[4] mid of the will
-- Reply: 0
-- Complexity: O(wills of the client that are not done), nearly always one.
--- @include "session-keys"
--- @include "open-write"
local client = ARGV[3]

open_write(COUNTS)
local packed = redis.call('HGET', TAKEN, client)
if not packed then return 0 end
local left = {}
for _, one in ipairs(cmsgpack.unpack(packed)) do
  if one[1] ~= ARGV[4] then left[#left + 1] = one end
end
if #left == 0 then
  redis.call('HDEL', TAKEN, client)
  redis.call('ZREM', TAKEN_AT, client)
else
  redis.call('HSET', TAKEN, client, cmsgpack.pack(left))
end
return 0
