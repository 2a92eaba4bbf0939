-- Take in the records of one durable batch: entries, record ids, events.
-- KEYS: holders, entries, records, attempts, batches, outbox, quarantine, leases; to restore:
--   restored instead of leases, and held
-- ARGV: mailbox; lease id, or "" to restore: without lease, and existing entries stay;
--   batch; seconds since the epoch, or "" for now; seconds that batches are remembered;
--   then for each record: record id, unique-id ("": none), entry without its last four octets,
--   number of events, and each event's id, type and JSON
-- Returns how many events were put, or nil: the lease is lost.
local restoring = ARGV[2] == ''
if not restoring then
  if not holds(KEYS[1], ARGV[1], ARGV[2]) or lapsed(KEYS[8], ARGV[1]) then
    return false
  end
end
local now = math.floor(clock())
local time = restoring and tonumber(ARGV[4]) or now
local stamp = struct.pack('>I4', time)
local clear = redis.call('EXISTS', KEYS[4]) == 1
local put, put_at = 0, now
local i = 6
local entries, names = {}, {}

local function flush()
  if #entries > 0 then
    redis.call('HSET', KEYS[2], unpack(entries))
  end
  if clear and #names > 0 then
    redis.call('HDEL', KEYS[4], unpack(names))
  end
  entries, names = {}, {}
end

while i <= #ARGV do
  local record, name, entry, events = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  i = i + 4
  local dated = stamp
  if redis.call('ZADD', KEYS[3], 'NX', time, record) == 1 then
    for event = i, i + 3 * (events - 1), 3 do
      put_at = parts(redis.call('XADD', KEYS[6], '*', 'id', ARGV[event], 'type', ARGV[event + 1],
        'mailbox', ARGV[1], 'json', ARGV[event + 2])) / 1000
    end
    if not restoring and put_at >= time + 1 then
      -- The clock was set back, which ids of events never are: a record is no older than its own.
      redis.call('ZADD', KEYS[3], math.floor(put_at), record)
      dated = struct.pack('>I4', math.floor(put_at))
    end
    put = put + events
    if math.floor(string.byte(entry) / 8) % 2 == 1 then
      redis.call('HSET', KEYS[7], record, ARGV[1] .. ' ' .. ARGV[3])
    end
  else
    -- The same octets under another unique-id: committed when they first were.
    dated = struct.pack('>I4', tonumber(redis.call('ZSCORE', KEYS[3], record)))
  end
  i = i + 3 * events
  if name ~= '' then
    if not restoring or redis.call('HEXISTS', KEYS[2], name) == 0 then
      entries[#entries + 1] = name
      entries[#entries + 1] = entry .. dated
    end
    names[#names + 1] = name
    if #names == 1000 then  -- Lua's stack holds about 8000 values
      flush()
    end
  end
end
flush()
if restoring and put > 0 then
  -- They may be of old batches: no checkpoint says more until every sink has them.
  for _, key in ipairs({KEYS[8], KEYS[9]}) do
    redis.call('SET', key, math.max(now, put_at) + 1)
  end
end
redis.call('ZADD', KEYS[5], now, ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now - tonumber(ARGV[5]))
return put
