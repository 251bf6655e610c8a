--- @include "released-range"
-- The queue of a session that had messages of shared subscriptions stays for the other members of its groups (or for
-- nobody, then they are dropped and counted). Of several ended lives of a client the first keeps its fields, those of the
-- others are copied under "life:seq". Field l tells of each: life, prefix of its fields, head, tail, highest seq sent, and
-- where reading goes on. Field o<prefix> has the holes of its numbers, where a tail was lost.
local function leave_orphans(client, life, head, tail, sent, holes)
  local prefix = ''
  -- They are read from the head on.
  local first, run = find_run(QUEUE, head)
  if first then split_field(QUEUE, first, run, head) end
  if redis.call('EXISTS', ORPHANS) == 0 then
    redis.call('RENAME', QUEUE, ORPHANS)
  else
    prefix = life .. ':'
    local all = redis.call('HGETALL', QUEUE)
    for index = 1, #all, 2 do redis.call('HSET', ORPHANS, prefix .. all[index], all[index + 1]) end
  end
  local lines = redis.call('HGET', ORPHANS, 'l') or ''
  redis.call('HSET', ORPHANS, 'l', table.concat({ lines .. life, prefix, digits(head), tail, sent, digits(head) }, ',') .. ';')
  if holes then redis.call('HSET', ORPHANS, 'o' .. prefix, holes) end
  redis.call('ZADD', ORPHANED, 'NX', 0, client)
end

-- Ends a session: everything of it goes but taken wills, what it leaves to the other members of its shared subscriptions,
-- and the marks of their messages. Its record goes too; what follows may write a new one. Answers how many messages went
-- with it.
local function end_session(client)
  local m = redis.call('HMGET', META, 's', 'j', 'z', 'o')
  local life, _, head, tail, bytes, _, _, queued, _, offset = unpack_state(m[1])
  -- Also where it is not needed: a queue of another type is told, not thrown away.
  local fields = redis.call('HLEN', QUEUE)
  if m[2] and fields > 0 then
    if offset >= RANGE_BIT then write_range(QUEUE, head, range_of(META, true)) end
    leave_orphans(client, digits(life), head, digits(tail), m[3] or '-1', m[4])
    queued, bytes = 0, 0
  end
  redis.call('UNLINK', META, QUEUE, MARKS, NOTES, INBOUND)
  redis.call('HDEL', ROWS, client)
  redis.call('HDEL', READINGS, client)
  redis.call('ZREM', DUE, client)
  if not m[2] then redis.call('ZREM', MARKED, client) end
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
