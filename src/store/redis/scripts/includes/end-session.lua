-- Ends a session: everything of it goes but taken wills. Its record goes too; what follows may write a new one. Answers
-- how many messages went with it.
local function end_session(client)
  local queued = redis.call('HLEN', QUEUE)
  local bytes = tonumber(redis.call('HGET', META, 'b') or '0')
  redis.call('UNLINK', META, QUEUE, MARKS, NOTES, INBOUND)
  redis.call('HDEL', ROWS, client)
  redis.call('HDEL', READINGS, client)
  redis.call('ZREM', DUE, client)
  redis.call('ZREM', MARKED, client)
  redis.call('HINCRBY', COUNTS, 'q', 0 - queued)
  redis.call('HINCRBY', COUNTS, 'w', 0 - bytes)
  redis.call('HINCRBY', COUNTS, 's', -1)
  return queued
end

-- Keeps the answer of a script that ended the session (life "0": did not) for its repetition after a cut connection; of
-- an ended session for a minute. Answers the life and the messages that went with it as numbers.
local function keep_end_answer(token, life, discarded)
  redis.call('HSET', META, 'k', token .. ' ' .. life .. ' ' .. discarded)
  if life ~= '0' then redis.call('PEXPIRE', META, 60000) end
  return tonumber(life), discarded
end

-- The answer of the same call, run before, or nil.
local function kept_answer(kept, token)
  if kept and string.sub(kept, 1, #token + 1) == token .. ' ' then return string.sub(kept, #token + 2) end
  return nil
end

-- An answer kept by keep_end_answer: the ended life and the messages that went with it.
local function read_end_answer(answer)
  local life, discarded = string.match(answer, '^(%d+) (%d+)$')
  return tonumber(life), tonumber(discarded)
end
