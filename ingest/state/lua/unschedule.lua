-- Forget a mailbox's due time, and end its lease, so that its session stops.
-- KEYS: groups, due, leases, holders
-- ARGV: group, mailbox
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('HDEL', KEYS[4], ARGV[2])
rank(KEYS[1], ARGV[1], KEYS[2], KEYS[3])
