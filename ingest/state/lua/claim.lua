-- Claim the earliest due mailbox of a group.
-- KEYS: epoch, groups, due, leases, holders
-- ARGV: group, slots, seconds, lease id
-- Returns the mailbox, or nil: none is due, no slot is free, or the index isn't whole.
if redis.call('EXISTS', KEYS[1]) == 0 then
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
if redis.call('ZCARD', KEYS[4]) < tonumber(ARGV[2]) then
  mailbox = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 1)[1]
end
if mailbox then
  redis.call('ZADD', KEYS[4], now + tonumber(ARGV[3]), mailbox)
  redis.call('HSET', KEYS[5], mailbox, ARGV[4])
  redis.call('ZREM', KEYS[3], mailbox)
end
rank(KEYS[2], ARGV[1], KEYS[3], KEYS[4])
return mailbox
