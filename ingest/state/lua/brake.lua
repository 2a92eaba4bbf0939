-- Whether so many messages may be deleted now; counts them if they may.
-- KEYS: brake, deletes, brake-released
-- ARGV: how many; deletes an hour that are never unusual; times the busiest hour that still are
--   usual; hours that are remembered; hours that must be known before any is unusual
-- Returns the reason why not, or "".
local reason = redis.call('GET', KEYS[1])
if reason then
  return reason
end
local hour = math.floor(clock() / 3600)
local deletes, busiest, first = 0, 0, hour
local hours = redis.call('HGETALL', KEYS[2])
for i = 1, #hours, 2 do
  local past, count = tonumber(hours[i]), tonumber(hours[i + 1])
  if past < hour - tonumber(ARGV[4]) then
    redis.call('HDEL', KEYS[2], hours[i])
  elseif past == hour then
    deletes = count
  else
    busiest = math.max(busiest, count)
    first = math.min(first, past)
  end
end
deletes = deletes + tonumber(ARGV[1])
local most = math.max(tonumber(ARGV[2]), busiest * tonumber(ARGV[3]))
local known = hour - first >= tonumber(ARGV[5])
if known and deletes > most and redis.call('EXISTS', KEYS[3]) == 0 then
  reason = string.format('%.0f deletes within the hour; the most of any in the last week were %.0f',
    deletes, busiest)
  redis.call('SET', KEYS[1], reason)
  return reason
end
redis.call('HSET', KEYS[2], hour, deletes)
return ''
