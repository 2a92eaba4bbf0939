-- Forget what is left of mailboxes that are no more.
-- KEYS: epoch, run id, mailboxes, standing
-- ARGV: mailbox and a key of it in turn
-- Returns how many keys were dropped. None, unless Redis is whole: it may be of another store.
if not whole(KEYS[1], KEYS[2]) then
  return 0
end
local dropped = 0
for i = 1, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[3], ARGV[i]) == 0 then
    dropped = dropped + redis.call('UNLINK', ARGV[i + 1]) + redis.call('HDEL', KEYS[4], ARGV[i])
  end
end
return dropped
