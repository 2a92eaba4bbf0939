"""Sockets, TLS, deadlines and sign-in: POP3 over a real network."""
