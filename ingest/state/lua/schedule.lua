-- Give mailboxes of one group due times. A leased one gets its own when its lease ends.
-- KEYS: groups, due, leases, holders
-- ARGV: group, "new" (keep the due times there are) or "all", then mailbox and seconds in turn
-- Returns how many mailboxes were new.
local now = clock()
local added = 0
for i = 3, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[4], ARGV[i]) == 0 then
    local time = now + tonumber(ARGV[i + 1])
    if ARGV[2] == 'new' then
      added = added + redis.call('ZADD', KEYS[2], 'NX', time, ARGV[i])
    else
      added = added + redis.call('ZADD', KEYS[2], time, ARGV[i])
    end
  end
end
rank(KEYS[1], ARGV[1], KEYS[2], KEYS[3])
return added
