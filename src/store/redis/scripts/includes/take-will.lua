-- Takes the session's will for publishing: it leaves the session and stays in the index of taken wills, outside the
-- session's life, until finish-will. Its mid marks it, so that publishing it twice delivers it once. Answers {mid, will}.
local function take_will(client, last_mid, now)
  local will = redis.call('HGET', WILLS, client)
  if not will then return nil end
  local mid = math.max(last_mid + 1, now)
  local packed = redis.call('HGET', TAKEN, client)
  local list = packed and cmsgpack.unpack(packed) or {}
  local one = { digits(mid), will }
  list[#list + 1] = one
  redis.call('HDEL', WILLS, client)
  redis.call('HSET', TAKEN, client, cmsgpack.pack(list))
  redis.call('ZADD', TAKEN_AT, 'NX', digits(math.floor(now / 1000)), client)
  return one
end

-- All wills of the client that were taken and are not done.
local function taken_wills(client)
  local packed = redis.call('HGET', TAKEN, client)
  return packed and cmsgpack.unpack(packed) or {}
end

-- The delay of a stored will in ms (records.encodeWill: version, flags, delay in seconds).
local function will_delay_ms(client)
  local will = redis.call('HGET', WILLS, client)
  return will and struct.unpack('>I4', will, 3) * 1000 or nil
end
