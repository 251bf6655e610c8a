-- Where the messages of one ended life lie among all that its client has left (end-session.lua, leave_orphans): what stands
-- before each of their fields, or nil where nothing of that life is left.
local function orphan_prefix(life)
  for one, prefix in string.gmatch(redis.call('HGET', ORPHANS, 'l') or '', '(%d+),([^,]*),[^;]*;') do
    if one == life then return prefix end
  end
  return nil
end
