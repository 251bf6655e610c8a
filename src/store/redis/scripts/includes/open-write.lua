-- The first write of a script that frees or admits: one that Redis allows when memory is full, after which it allows the
-- others. Then the write of every call, so that WAIT has something to wait for.
local function open_write(counts)
  redis.call('HDEL', counts, '')
  redis.call('HINCRBY', counts, 'q', 0)
end
