-- Drop the events that every consumer group has acknowledged.
-- KEYS: outbox
-- Returns how many were dropped.
local function parts(id)
  local ms, sequence = string.match(id, '(%d+)-(%d+)')
  return tonumber(ms), tonumber(sequence)
end

if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
local keep, keep_ms, keep_sequence
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for i = 1, #flat, 2 do
    group[flat[i]] = flat[i + 1]
  end
  local ms, sequence
  if group['pending'] > 0 then
    ms, sequence = parts(redis.call('XPENDING', KEYS[1], group['name'])[2])
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
return redis.call('XTRIM', KEYS[1], 'MINID', first)
