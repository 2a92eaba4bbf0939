-- Claim one mailbox now, whenever it is due.
-- KEYS: epoch, run id, groups, due, leases, holders
-- ARGV: group, mailbox, seconds, lease id
-- Returns 1, 0 (somebody holds it) or nil (the index isn't whole).
if not whole(KEYS[1], KEYS[2]) then
  return false
end
local now = clock()
local expiry = redis.call('ZSCORE', KEYS[5], ARGV[2])
if expiry and tonumber(expiry) > now then
  return 0
end
redis.call('ZADD', KEYS[5], now + tonumber(ARGV[3]), ARGV[2])
redis.call('HSET', KEYS[6], ARGV[2], ARGV[4])
redis.call('ZREM', KEYS[4], ARGV[2])
rank(KEYS[3], ARGV[1], KEYS[4], KEYS[5])
return 1
