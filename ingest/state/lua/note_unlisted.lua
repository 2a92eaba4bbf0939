-- Note since when entries are no longer listed, or that they are listed again.
-- KEYS: holders, gone
-- ARGV: mailbox, lease id, "unlisted" or "listed", then unique-ids
-- Returns 1, or nil: the lease is lost.
if not holds(KEYS[1], ARGV[1], ARGV[2]) then
  return false
end
local now = math.floor(clock())
for i = 4, #ARGV do
  if ARGV[3] == 'unlisted' then
    redis.call('ZADD', KEYS[2], 'NX', now, ARGV[i])
  else
    redis.call('ZREM', KEYS[2], ARGV[i])
  end
end
return 1
