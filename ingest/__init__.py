"""mail-ingest: POP3 mail into an object store and event queues, losing nothing."""

__version__ = "0.1.0"
