-- Mark messages deleted: the first octet of an entry is its flags, and the lowest bit says so.
-- KEYS: holders, entries
-- ARGV: mailbox, lease id, then unique-ids
-- Returns 1, or nil: the lease is lost.
if not holds(KEYS[1], ARGV[1], ARGV[2]) then
  return false
end
for i = 3, #ARGV do
  local entry = redis.call('HGET', KEYS[2], ARGV[i])
  if entry then
    local flags = string.byte(entry)
    if flags % 2 == 0 then
      redis.call('HSET', KEYS[2], ARGV[i], string.char(flags + 1) .. string.sub(entry, 2))
    end
  end
end
return 1
