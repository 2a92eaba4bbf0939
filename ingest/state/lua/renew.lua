-- Renew leases of any groups.
-- KEYS: leases and holders of each lease in turn
-- ARGV: seconds, then mailbox and lease id of each lease in turn
-- Returns for each lease 1 (renewed) or 0 (lost).
local expiry = clock() + tonumber(ARGV[1])
local renewed = {}
for i = 1, #KEYS, 2 do
  local held = holds(KEYS[i + 1], ARGV[i + 1], ARGV[i + 2])
  if held and not lapsed(KEYS[i], ARGV[i + 1]) then
    redis.call('ZADD', KEYS[i], expiry, ARGV[i + 1])
    renewed[#renewed + 1] = 1
  else
    renewed[#renewed + 1] = 0
  end
end
return renewed
