-- Takes the session's will for publishing: it leaves the session and stays in the index of taken wills, outside the
-- session's life, until finish-will. Its mid marks it, so that publishing it twice delivers it once. `doubt`: the epoch of
-- a claim whose connection may have ended with DISCONNECT; its release says so (settle_doubt). Answers {mid, will, doubt}.
local function take_will(client, last_mid, now, doubt)
  local will = redis.call('HGET', WILLS, client)
  if not will then return nil end
  local mid = math.max(last_mid + 1, now)
  local packed = redis.call('HGET', TAKEN, client)
  local list = packed and cmsgpack.unpack(packed) or {}
  local one = { digits(mid), will, doubt }
  list[#list + 1] = one
  redis.call('HDEL', WILLS, client)
  redis.call('HSET', TAKEN, client, cmsgpack.pack(list))
  redis.call('ZADD', TAKEN_AT, 'NX', digits(math.floor(now / 1000)), client)
  return one
end

-- Changes the taken wills of the client: each becomes what `change` answers, nothing where that is nil.
local function change_taken(client, change)
  local packed = redis.call('HGET', TAKEN, client)
  if not packed then return end
  local left = {}
  for _, one in ipairs(cmsgpack.unpack(packed)) do left[#left + 1] = change(one) end
  if #left == 0 then
    redis.call('HDEL', TAKEN, client)
    redis.call('ZREM', TAKEN_AT, client)
  else
    redis.call('HSET', TAKEN, client, cmsgpack.pack(left))
  end
end

-- How the connection of a claim ended: a will that was taken from it in doubt is called off, or due.
local function settle_doubt(client, epoch, is_called_off)
  change_taken(client, function(one)
    if one[3] ~= epoch then return one end
    if is_called_off then return nil end
    return { one[1], one[2] }
  end)
end

-- All wills of the client that were taken and are not done: {mid, will}, and a third part for one in doubt.
local function taken_wills(client)
  local packed = redis.call('HGET', TAKEN, client)
  return packed and cmsgpack.unpack(packed) or {}
end

-- The delay of a stored will in ms (records.encodeWill: version, flags, delay in seconds).
local function will_delay_ms(client)
  local will = redis.call('HGET', WILLS, client)
  return will and struct.unpack('>I4', will, 3) * 1000 or nil
end
