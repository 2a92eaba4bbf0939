-- Stands before every script: the clock, leases, the index of groups, and the end of the outbox.

local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

-- Which run of Redis this is: another one after every restart or failover.
local function run_id()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end

-- Whether the index is whole: it has an epoch, and this very run of Redis was compared with the
-- object store. One that was restarted may have lost its last writes.
local function whole(epoch, compared)
  return redis.call('EXISTS', epoch) == 1 and redis.call('GET', compared) == run_id()
end

-- Whether this lease id holds the mailbox. Equality of a random id, never an order: a Redis that
-- was rolled back would hand out a counter's value twice.
local function holds(holders, mailbox, id)
  return redis.call('HGET', holders, mailbox) == id
end

-- Whether a lease ended so long ago that its holder must have slept, though nobody else took it.
-- What it still has to say is of another time than its batch, and the checkpoint has no margin for
-- that. Once the lease is renewed nothing tells, so it can't be renewed either.
local function lapsed(leases, mailbox)
  local expiry = redis.call('ZSCORE', leases, mailbox)
  return expiry and clock() - tonumber(expiry) > 3600
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

local function parts(id)
  local ms, sequence = string.match(id, '(%d+)-(%d+)')
  return tonumber(ms), tonumber(sequence)
end

-- Drop the events that every consumer group has acknowledged; how many.
local function trim(outbox)
  if redis.call('EXISTS', outbox) == 0 then
    return 0
  end
  local keep, keep_ms, keep_sequence
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', outbox)) do
    local group = {}
    for i = 1, #flat, 2 do
      group[flat[i]] = flat[i + 1]
    end
    local ms, sequence
    if group['pending'] > 0 then
      ms, sequence = parts(redis.call('XPENDING', outbox, group['name'])[2])
    else
      ms, sequence = parts(group['last-delivered-id'])
      sequence = sequence + 1
    end
    if not keep or ms < keep_ms or (ms == keep_ms and sequence < keep_sequence) then
      keep, keep_ms, keep_sequence = true, ms, sequence
    end
  end
  if not keep then
    return 0
  end
  local first = string.format('%.0f-%.0f', keep_ms, keep_sequence)
  return redis.call('XTRIM', outbox, 'MINID', first)
end
