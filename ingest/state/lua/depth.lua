-- What waits and what runs, over all groups.
-- KEYS: groups
-- ARGV: prefix of the due keys, prefix of the leases keys
-- Returns scheduled, due, leased, and how many milliseconds the latest of the due ones is late.
local now = clock()
local scheduled, ready, leased, late = 0, 0, 0, 0
for _, group in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local due, leases = ARGV[1] .. group, ARGV[2] .. group
  scheduled = scheduled + redis.call('ZCARD', due)
  ready = ready + redis.call('ZCOUNT', due, '-inf', now)
  leased = leased + redis.call('ZCARD', leases)
  local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
  if first[2] then
    late = math.max(late, now - tonumber(first[2]))
  end
end
return {scheduled, ready, leased, math.floor(late * 1000)}
