-- The groups with something to claim.
-- KEYS: epoch, run id, groups
-- ARGV: prefix of the due keys, prefix of the leases keys
-- Returns group and number of claimable mailboxes in turn.
if not whole(KEYS[1], KEYS[2]) then
  return {}
end
local now = clock()
local found = {}
for _, group in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now)) do
  local due, leases = ARGV[1] .. group, ARGV[2] .. group
  local count = redis.call('ZCOUNT', due, '-inf', now) + redis.call('ZCOUNT', leases, '-inf', now)
  if count > 0 then
    found[#found + 1] = group
    found[#found + 1] = count
  else
    -- Claims and renewals leave the rank behind.
    rank(KEYS[3], group, due, leases)
  end
end
return found
