-- What is due of a session that nobody holds: ends it when its expiry has passed (a will goes out with it), takes a will
-- that is due, or puts the next deadline into the index. Answers the ended life ("0" none), where a will was taken all of
-- the client's that are not done (it goes behind those before it), and the number of messages that went with the session.
local function settle_deadline(client, life, expires, will_due, last_mid, now)
  local now_ms = math.floor(now / 1000)
  local wills = {}
  if expires > 0 and expires <= now_ms then
    if take_will(client, last_mid, now) then wills = taken_wills(client) end
    return digits(life), wills, end_session(client)
  end
  if will_due > 0 and will_due <= now_ms then
    local one = take_will(client, last_mid, now)
    if one then last_mid, wills = tonumber(one[1]), taken_wills(client) end
    will_due = 0
  end
  redis.call('HSET', META, 'd', digits(expires), 'u', digits(will_due), 'm', digits(last_mid))
  local next_due = expires > 0 and will_due > 0 and math.min(expires, will_due) or math.max(expires, will_due)
  if next_due > 0 then
    redis.call('ZADD', DUE, digits(next_due), client)
  else
    redis.call('ZREM', DUE, client)
  end
  return '0', wills, 0
end
