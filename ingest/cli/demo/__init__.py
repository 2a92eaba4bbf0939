"""A rehearsal on one machine: a small POP3 server, made-up mail, and the real workers."""
