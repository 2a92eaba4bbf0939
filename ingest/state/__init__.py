"""Redis or Valkey: schedule, ledger, outbox and mailbox registry, an index that can be rebuilt."""
