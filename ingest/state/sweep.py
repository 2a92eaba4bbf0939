"""Where the sweep goes on, so that it does not list the whole log every hour."""

from __future__ import annotations

from typing import Final

from redis import Redis

from ingest.state.commands import PREFIX, Commands, text

# So often the sweep begins at the oldest batch again: for what came into being behind it.
PASS_SECONDS: Final = 30 * 86400


class SweepCursor:
    """The place in the log before which nothing is left to remove. Raises StateError.

    A Redis that lost it costs one sweep of the whole log.
    """

    def __init__(self, client: Redis, prefix: str = PREFIX) -> None:
        self._redis = Commands(client, prefix)
        self._key = self._redis.key("swept")
        self._begun = 0.0  # when this pass through the log did, by Redis's clock

    def read(self) -> str:
        """The key after which the sweep goes on; "": at the oldest batch."""
        kept: bytes | None = self._redis.run("GET", self._key)
        begun, _, after = text(kept or b"0 ").partition(" ")
        self._begun, now = float(begun), self._redis.now()
        if now - self._begun < PASS_SECONDS:
            return after
        self._begun = now
        return ""

    def write(self, after: str) -> None:
        """The sweep has come so far. To be called after `read`."""
        self._redis.run("SET", self._key, f"{self._begun:.0f} {after}")
