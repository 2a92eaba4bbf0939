"""The application: one session, one message, one batch, and the policies that decide."""
