-- Store time in microseconds: the clock of the master that holds the record rules all deadlines and numbers.
local function time_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- A whole number as decimal digits; tostring would round beyond 14 of them, and '%.0f' takes twice as long.
local function digits(number)
  return string.format('%d', number)
end
