-- The time, and before when all events are accepted: that of the oldest one that some group lacks.
-- KEYS: outbox, restored
-- Returns both in seconds since the epoch. Events that were restored were put later than their
-- records were committed: while one may wait, none of the mailbox counts as accepted.
local now = clock()
local accepted = now
trim(KEYS[1])
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if oldest then
  accepted = parts(oldest[1]) / 1000
  if tonumber(redis.call('GET', KEYS[2]) or 0) >= accepted then
    accepted = 0
  end
end
return {string.format('%.6f', now), string.format('%.6f', accepted)}
