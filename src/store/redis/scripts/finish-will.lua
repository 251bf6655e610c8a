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
--- @include "store-time"
--- @include "take-will"
local client = ARGV[3]

open_write(COUNTS)
change_taken(client, function(one)
  if one[1] == ARGV[4] then return nil end
  return one
end)
return 0
