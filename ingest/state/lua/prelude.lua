-- Stands before every script: the clock, leases, and the index of groups.

local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

-- Whether this lease id holds the mailbox. Equality of a random id, never an order: a Redis that
-- was rolled back would hand out a counter's value twice.
local function holds(holders, mailbox, id)
  return redis.call('HGET', holders, mailbox) == id
end

-- The index ranks a group by the earliest moment when something in it may be claimed: a due time,
-- or the end of a lease.
local function rank(groups, group, due, leases)
  local earliest
  for _, key in ipairs({due, leases}) do
    local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    if first[2] and (not earliest or tonumber(first[2]) < earliest) then
      earliest = tonumber(first[2])
    end
  end
  if earliest then
    redis.call('ZADD', groups, earliest, group)
  else
    redis.call('ZREM', groups, group)
  end
end
