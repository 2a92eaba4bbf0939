-- Give a lease back.
-- KEYS: groups, due, leases, holders, standing
-- ARGV: group, mailbox, lease id, seconds until it is due again (empty: it is not),
--   standing (empty: leave what there is)
-- Returns 1, or 0: the lease was lost, and nothing changed.
if not holds(KEYS[4], ARGV[2], ARGV[3]) then
  return 0
end
if ARGV[4] ~= '' then
  redis.call('ZADD', KEYS[2], clock() + tonumber(ARGV[4]), ARGV[2])
end
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[5], ARGV[2], ARGV[5])
end
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('HDEL', KEYS[4], ARGV[2])
rank(KEYS[1], ARGV[1], KEYS[2], KEYS[3])
return 1
