-- The index is whole again: give Redis its epoch, so that mailboxes can be claimed.
-- KEYS: read-back lock, epoch, checkpoints
-- ARGV: lock id, epoch, count
-- Returns 1, or 0: the lock was lost.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('SET', KEYS[3], ARGV[3])
redis.call('DEL', KEYS[1])
return 1
