-- A retained value: deadline in ms (0 never), epoch and number of its writer, the writer's client id, then the record
-- (records.encodeRetained). An empty record stands for a cleared topic, kept for a while for its writer's sake.
local function pack_value(expires, epoch, number, client, record)
  return struct.pack('>dddH', expires, epoch, number, #client) .. client .. record
end

-- Answers deadline, epoch, number, client id, and the place where the record begins.
local function unpack_value(value)
  local expires, epoch, number, length = struct.unpack('>dddH', value)
  return expires, epoch, number, string.sub(value, 27, 26 + length), 27 + length
end
