-- Drop the events that every consumer group has acknowledged.
-- KEYS: outbox
-- Returns how many were dropped.
return trim(KEYS[1])
