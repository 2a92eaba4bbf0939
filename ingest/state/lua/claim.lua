-- Claim the earliest due mailbox of a group.
-- KEYS: epoch, due, leases, holders
-- ARGV: slots, seconds, lease id
-- Returns the mailbox, or nil: none is due, no slot is free, or the index isn't whole.
-- A claim never makes anything due earlier, so the group's rank is left behind, for speed.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return false
end
local now = clock()
local expired = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1000)
for i = 1, #expired, 2 do
  redis.call('ZADD', KEYS[2], expired[i + 1], expired[i])
  redis.call('ZREM', KEYS[3], expired[i])
  redis.call('HDEL', KEYS[4], expired[i])
end
local mailbox = false
if redis.call('ZCARD', KEYS[3]) < tonumber(ARGV[1]) then
  mailbox = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 1)[1]
end
if mailbox then
  redis.call('ZADD', KEYS[3], now + tonumber(ARGV[2]), mailbox)
  redis.call('HSET', KEYS[4], mailbox, ARGV[3])
  redis.call('ZREM', KEYS[2], mailbox)
end
return mailbox
