-- The index is whole again: mailboxes can be claimed.
-- KEYS: read-back lock, run id, epoch, checkpoints
-- ARGV: lock id, run id when the read-back began; epoch and count, where Redis gets new ones
-- Returns 1, or 0: the lock was lost, or Redis died meanwhile and may have forgotten its last second.
if redis.call('GET', KEYS[1]) ~= ARGV[1] or run_id() ~= ARGV[2] then
  return 0
end
if ARGV[3] then
  redis.call('SET', KEYS[3], ARGV[3])
  redis.call('SET', KEYS[4], ARGV[4])
end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('DEL', KEYS[1])
return 1
