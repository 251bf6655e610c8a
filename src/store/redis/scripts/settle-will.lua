-- What has become of a will that was taken in doubt: whether its connection had ended with DISCONNECT, which its release
-- says. Who has waited long enough makes it due.
-- Atomic, so that a will is either called off or published: what is due is not called off any more.
-- KEYS: session keys (includes/session-keys.lua)
-- ARGV[1] history id (not used: the same arguments for all of a session's scripts)
-- ARGV[2] token of this call (not used: the same arguments for all of a session's scripts)
-- ARGV[3] client id
-- ARGV[4] mid of the will
-- ARGV[5] 1: it is due, unless it was called off
-- Reply: 0 gone, 1 due, 2 in doubt
-- Complexity: O(wills of the client that are not done), nearly always one.
--- @include "session-keys"
--- @include "open-write"
--- @include "store-time"
--- @include "take-will"
local client, mid, is_last = ARGV[3], ARGV[4], ARGV[5] == '1'

open_write(COUNTS)
local state = 0
for _, one in ipairs(taken_wills(client)) do
  if one[1] == mid then
    state = (is_last or not one[3]) and 1 or 2
    if is_last and one[3] then settle_doubt(client, one[3], false) end
  end
end
return state
