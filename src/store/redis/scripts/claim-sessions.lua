-- A CONNECT takes the session: the owner becomes (incarnation, epoch + 1), a clean start or an expired one makes a new life.
-- Atomic because fencing, session present, the fate of the old will and the deadlines must be one decision: from here on
-- nothing that the old owner sends changes the session. Expiry of a session whose owner is dead counts from when
-- that owner was last heard of; where the answer depends on a death that is not certain, the caller is told to wait.
-- Takes the claims of several sessions; none of them knows of the others.
-- KEYS[1...] for each claim: session keys (includes/session-keys.lua); HELD is of the claiming node
-- ARGV[1] history id
-- ARGV[2...] for each claim: token, client id, incarnation, 1: clean start, expiry in seconds, highest epoch and life seen of
--   the session, will (records.encodeWill; '' none), store time in ms before which its CONNECT did not come, for how many
--   ms it has waited at least, less those within which two CONNECTs come at the same time; number of nodes
--   that are not known to live, and of each: incarnation, last renewal in ms, 'over' or 'dead'
-- Reply: for each claim {0, present, life, epoch, rev, previous owner, row or null, row pending, row version, head, tail,
--   sent, inbound as HVALS, reading or null, taken wills {mid, will, in doubt or absent}, ended life, now ms, messages that
--   went with the ended life}, or {1, owner} (wait), or {2} (it ran before, and others have had the session
--   since; or the CONNECT of the last claim came later)
-- Complexity: O(claims), beside HVALS of the unfinished receptions (limits.receiveMaximum) and the ends of sessions.
--- @include "store-time"
--- @include "session-keys"
--- @include "session-state"
--- @include "open-write"
--- @include "history-jump"
--- @include "take-will"
--- @include "last-heard"
--- @include "end-session"
local NEVER = 4294967295
-- Claims that a session remembers: as many may be repeated at once behind a cut connection.
local CLAIMS = 4
local KEYS_OF_SESSION = 16
local argv, history = ARGV, ARGV[1]

open_write(COUNTS)
local now = time_us()
local now_ms = math.floor(now / 1000)

-- The claim whose arguments begin at `from`, of the session whose keys have been set.
local function claim(from, states)
  local token, client, incarnation = argv[from], argv[from + 1], argv[from + 2]
  local is_clean, expiry, seen, will = argv[from + 3] == '1', argv[from + 4], tonumber(argv[from + 5]), argv[from + 6]
  local came, waited = argv[from + 7], tonumber(argv[from + 8])
  local m = redis.call('HMGET', META, 's', 'i', 'x', 'd', 'u', 'm', 'k', 'z', 'n', 'a', 'w', 'r', 'v', 'p', 'q')
  local life, epoch, head, tail, bytes, cut, touched, messages, packed, offset, stamp = unpack_state(m[1])
  local owner, last_mid = m[2], tonumber(m[6] or '0')
  local rev, version, is_pending, is_reading = m[12], m[13], m[14], m[15]
  local present, ended, previous, sent, discarded = 0, '0', '', m[8] or '-1', 0
  local answer, claims = kept_answer(m[7], token), m[9] or ''
  -- What cannot be, because the clock was set back, keeps nobody out.
  local last_came = tonumber(m[10] or '0')
  local is_late = last_came <= now_ms and now_ms - waited < last_came

  if answer and life then
    -- The same call ran before and its answer was lost.
    present, ended, discarded, sent, previous = string.match(answer, '^(%d) (%d+) (%d+) (%S+) (.*)$')
    present, discarded = tonumber(present), tonumber(discarded)
    redis.call('HSET', META, 'w', digits(now_ms))
  elseif string.find(claims, token .. ' ', 1, true) or life and is_late then
    return { 2 }
  else
    local has_expired, is_will_due, is_new, doubt = false, false, false, nil
    if life then
      local lasts, expires = tonumber(m[3]), tonumber(m[4] or '0')
      local will_due, state = tonumber(m[5] or '0'), 'live'
      if owner ~= '' then
        previous = owner
        for index = from + 10, from + 9 + 3 * states, 3 do
          if argv[index] == owner then
            local heard = last_heard_ms(tonumber(argv[index + 1]), epoch, m[11], now_ms)
            state = argv[index + 2]
            expires = lasts ~= NEVER and heard + lasts * 1000 or 0
            local delay = will_delay_ms(client)
            will_due = delay and heard + delay or 0
          end
        end
      end
      has_expired = (owner == '' or state ~= 'live') and expires > 0 and expires <= now_ms
      -- The owner may have had a DISCONNECT already: its release says whether.
      if owner ~= '' and owner ~= incarnation and state == 'live' then doubt = digits(epoch) end
      -- One that ends with its connection ends by being taken over, whether its owner lives or not.
      if owner ~= '' and lasts == 0 then has_expired, state = true, 'dead' end
      if has_expired and state == 'over' and not is_clean then return { 1, owner } end
      is_will_due = (owner == '' or state == 'dead') and will_due > 0 and will_due <= now_ms
    end
    if life and (is_clean or has_expired) then
      local one = take_will(client, last_mid, now, doubt)
      if one then last_mid = tonumber(one[1]) end
      discarded = end_session(client)
      ended, life = digits(life), nil
    elseif life then
      if is_will_due then
        local one = take_will(client, last_mid, now)
        if one then last_mid = tonumber(one[1]) end
      end
      present = 1
    else
      -- The answer of the script that ended the session before may be left.
      redis.call('UNLINK', META)
    end
    if not life then
      life = math.max(tonumber(ended) + 1, seen + 1, now)
      head, tail, bytes, cut, touched, messages, packed, offset = 1, 0, 0, 0, history, 0, 0, 0
      is_new = true
      sent, rev, version, is_pending, is_reading = '0', '0', '0', false, false
      redis.call('HINCRBY', COUNTS, 's', 1)
    end
    epoch, stamp = math.max((epoch or 0) + 1, seen + 1, now), 0
    local kept, at = token .. ' ', 0
    for one in string.gmatch(claims, '%S+ ') do
      at = at + 1
      if at < CLAIMS then kept = kept .. one end
    end
    local state = pack_state(life, epoch, head, tail, bytes, cut, touched, messages, packed, offset, stamp)
    -- The first fields of a hash are found soonest.
    if is_new then redis.call('HSET', META, 's', state, 'i', incarnation, 'r', '0', 'v', '0') end
    redis.call('HSET', META, 's', state, 'i', incarnation, 'x', expiry, 'm', digits(last_mid), 'd', '0', 'u', '0',
      'z', '-1', 'n', kept, 'a', came, 'k', token .. ' ' .. present .. ' ' .. ended .. ' ' .. discarded .. ' ' .. sent .. ' ' .. previous)
    if (m[4] or '0') ~= '0' or (m[5] or '0') ~= '0' then redis.call('ZREM', DUE, client) end
    redis.call('SADD', HELD, client)
    if will == '' then
      redis.call('HDEL', WILLS, client)
    else
      redis.call('HSET', WILLS, client, will)
    end
  end

  if touched ~= history then
    tail, head = jump_history(META, history, life, epoch, head, tail, bytes, cut, messages, packed, offset, stamp)
  end
  return {
    0, present, life, epoch, tonumber(rev), previous, redis.call('HGET', ROWS, client), is_pending and 1 or 0,
    tonumber(version), head, tail, tonumber(sent), redis.call('HVALS', INBOUND),
    is_reading and redis.call('HGET', READINGS, client),
    taken_wills(client), tonumber(ended), now_ms, discarded,
  }
end

local replies, from = {}, 2
for index = 1, #KEYS / KEYS_OF_SESSION do
  if index > 1 then
    local at = KEYS_OF_SESSION * (index - 1)
    META, QUEUE, MARKS, NOTES, INBOUND = KEYS[at + 1], KEYS[at + 2], KEYS[at + 3], KEYS[at + 4], KEYS[at + 5]
    ORPHANS, HELD = KEYS[at + 6], KEYS[at + 7]
    ROWS, WILLS, READINGS, DUE, TAKEN = KEYS[at + 8], KEYS[at + 9], KEYS[at + 10], KEYS[at + 11], KEYS[at + 12]
    TAKEN_AT, MARKED, COUNTS, ORPHANED = KEYS[at + 13], KEYS[at + 14], KEYS[at + 15], KEYS[at + 16]
  end
  local states = tonumber(argv[from + 9])
  replies[index] = claim(from, states)
  from = from + 10 + 3 * states
end
return replies
