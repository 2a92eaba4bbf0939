-- Keep a lock for longer.
-- KEYS: lock
-- ARGV: lock id, seconds
-- Returns 1, or 0: the lock was lost.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('EXPIRE', KEYS[1], ARGV[2])
