-- Count one more attempt at each message.
-- KEYS: holders, attempts
-- ARGV: mailbox, lease id, then unique-ids
-- Returns the new counts, or nil: the lease is lost.
if not holds(KEYS[1], ARGV[1], ARGV[2]) then
  return false
end
local counts = {}
for i = 3, #ARGV do
  counts[i - 2] = redis.call('HINCRBY', KEYS[2], ARGV[i], 1)
end
return counts
