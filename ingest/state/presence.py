"""Whether any worker is at work: each shows itself every few seconds."""

from __future__ import annotations

from typing import Final

from redis import Redis

from ingest.state.commands import PREFIX, Commands

SEEN_SECONDS: Final = 60  # that a worker counts as seen; several times as long as between two shows


class Presence:
    """What workers leave in Redis by being there. Raises StateError."""

    def __init__(self, client: Redis, prefix: str = PREFIX) -> None:
        self._redis = Commands(client, prefix)
        self._key = self._redis.key("worker-seen")

    def show(self) -> None:
        """A worker is here, now."""
        self._redis.run("SET", self._key, 1, "EX", SEEN_SECONDS)

    def seen(self) -> bool:
        """Whether one was within the last minute."""
        return bool(self._redis.run("EXISTS", self._key))
