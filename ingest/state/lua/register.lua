-- Put, change or remove a mailbox, if it still is what the caller saw.
-- KEYS: mailboxes, mailbox-claims
-- ARGV: id, JSON that the caller saw ("": none), new JSON ("": remove),
--   number of claims to give up, these, and those to take
-- Returns "done", "changed", or the claim that another mailbox has and the id of that one.
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then
  return {'changed'}
end
local first_new = 5 + tonumber(ARGV[4])
for i = first_new, #ARGV do
  local owner = redis.call('HGET', KEYS[2], ARGV[i])
  if owner and owner ~= ARGV[1] then
    return {ARGV[i], owner}
  end
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
for i = 5, first_new - 1 do
  redis.call('HDEL', KEYS[2], ARGV[i])
end
for i = first_new, #ARGV do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[1])
end
return {'done'}
