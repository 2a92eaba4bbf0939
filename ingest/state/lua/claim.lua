-- Claim the earliest due mailbox of a group.
-- KEYS: epoch, run id, due, leases, holders
-- ARGV: slots, seconds, lease id
-- Returns the mailbox, or nil: none is due, no slot is free, or the index isn't whole.
-- A claim never makes anything due earlier, so the group's rank is left behind, for speed.
if not whole(KEYS[1], KEYS[2]) then
  return false
end
local now = clock()
local expired = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1000)
for i = 1, #expired, 2 do
  redis.call('ZADD', KEYS[3], expired[i + 1], expired[i])
  redis.call('ZREM', KEYS[4], expired[i])
  redis.call('HDEL', KEYS[5], expired[i])
end
local mailbox = false
if redis.call('ZCARD', KEYS[4]) < tonumber(ARGV[1]) then
  mailbox = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 1)[1]
end
if mailbox then
  redis.call('ZADD', KEYS[4], now + tonumber(ARGV[2]), mailbox)
  redis.call('HSET', KEYS[5], mailbox, ARGV[3])
  redis.call('ZREM', KEYS[3], mailbox)
end
return mailbox
