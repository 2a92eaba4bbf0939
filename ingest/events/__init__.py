"""Events: their schema, and the sinks they go to."""
