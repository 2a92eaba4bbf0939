-- Forget members of a mailbox's hash or sorted set, and their marks in `gone`.
-- KEYS: holders, hash or sorted set, gone
-- ARGV: mailbox, lease id, "hash" or "set", then members
-- Returns 1, or nil: the lease is lost.
if not holds(KEYS[1], ARGV[1], ARGV[2]) then
  return false
end
for i = 4, #ARGV do
  if ARGV[3] == 'hash' then
    redis.call('HDEL', KEYS[2], ARGV[i])
    redis.call('ZREM', KEYS[3], ARGV[i])
  else
    redis.call('ZREM', KEYS[2], ARGV[i])
  end
end
return 1
