-- Uncount one attempt at each message.
-- KEYS: holders, attempts
-- ARGV: mailbox, lease id, then unique-ids
-- Returns 1, or nil: the lease is lost.
if not holds(KEYS[1], ARGV[1], ARGV[2]) then
  return false
end
for i = 3, #ARGV do
  if redis.call('HINCRBY', KEYS[2], ARGV[i], -1) <= 0 then
    redis.call('HDEL', KEYS[2], ARGV[i])
  end
end
return 1
