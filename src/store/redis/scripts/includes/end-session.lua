-- Ends a session: everything of it goes but taken wills. Its record goes too; what follows may write a new one.
local function end_session(client)
  local queued = redis.call('HLEN', QUEUE)
  redis.call('UNLINK', META, QUEUE, MARKS, NOTES, INBOUND)
  redis.call('HDEL', ROWS, client)
  redis.call('HDEL', READINGS, client)
  redis.call('ZREM', DUE, client)
  redis.call('ZREM', MARKED, client)
  redis.call('HINCRBY', COUNTS, 'q', 0 - queued)
  redis.call('HINCRBY', COUNTS, 's', -1)
end

-- Keeps the answer of a script that ended the session for a minute, for its repetition after a cut connection.
local function keep_end_answer(token, life)
  redis.call('HSET', META, 'k', token .. ' ' .. life)
  redis.call('PEXPIRE', META, 60000)
end

-- The answer of the same call, run before, or nil.
local function kept_answer(kept, token)
  if kept and string.sub(kept, 1, #token + 1) == token .. ' ' then return string.sub(kept, #token + 2) end
  return nil
end
