-- The index is whole again: give Redis its epoch, so that mailboxes can be claimed.
-- KEYS: read-back lock, epoch, checkpoints
-- ARGV: lock id, epoch, count, run id when the read-back began
-- Returns 1, or 0: the lock was lost, or Redis died meanwhile and may have forgotten its last second.
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if redis.call('GET', KEYS[1]) ~= ARGV[1] or run_id ~= ARGV[4] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('SET', KEYS[3], ARGV[3])
redis.call('DEL', KEYS[1])
return 1
