-- Whether the index is whole, so that mailboxes can be claimed.
-- KEYS: epoch, run id
-- Returns 1 or 0.
if whole(KEYS[1], KEYS[2]) then
  return 1
end
return 0
