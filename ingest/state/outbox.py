"""Events on their way to the sinks: one Redis Stream, one consumer group per sink."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from redis import Redis

from ingest.errors import StateRefused
from ingest.intake.relay import OutboxEvent
from ingest.state.commands import CHUNK, PREFIX, Commands

BLOCK_MS_MAX: Final = 5_000  # below the client's time limit for an answer
ABANDONED_MS: Final = 60_000  # a consumer that has not acknowledged for so long is taken for dead
CONSUMER_KEPT_MS: Final = 86_400_000
ADOPT_EVERY: Final = 30  # seconds between two looks for what dead consumers left


class Outbox:
    """The events that wait for one sink, read by one consumer. Raises StateError.

    Every event is read at least once: until it is acknowledged it comes again, to this consumer at
    its next reading, and to another one when this has been silent for a minute.

    Args:
        client: Redis.
        sink: the sink's name. It gets every event that is in the outbox when it is first named.
        consumer: another one for every process; the same after its restart, if possible.
        prefix: of our keys.
    """

    def __init__(self, client: Redis, sink: str, consumer: str = "", prefix: str = PREFIX) -> None:
        self._redis = Commands(client, prefix)
        self.sink = sink
        self._key = self._redis.key("outbox")
        self._consumer = consumer or f"{socket.gethostname()}-{os.getpid()}"
        self._registered = False
        self._adopted_at = float("-inf")

    def read(self, count: int, block_ms: int | None = None) -> Sequence[OutboxEvent]:
        """The next events; first those that were read before and never acknowledged.

        Waits up to `block_ms` (at most 5 seconds) for one where none waits.
        """
        try:
            return self._read(count, block_ms)
        except StateRefused as error:
            if "NOGROUP" not in str(error):
                raise
            self._registered = False  # Redis lost its keys
            return self._read(count, block_ms)

    def acknowledge(self, entries: Sequence[str]) -> None:
        """The sink has these for certain."""
        for start in range(0, len(entries), CHUNK):
            self._redis.run("XACK", self._key, self.sink, *entries[start : start + CHUNK])

    def trim(self) -> int:
        """Drop what every sink has; how many."""
        return int(self._redis.call("trim", [self._key]))

    def depth(self) -> int:
        """How many events wait for this sink, read or not."""
        group = self._group()
        if group is None:
            return int(self._redis.run("XLEN", self._key))
        lag = group.get("lag")  # since Redis 7, and where Redis can tell
        if lag is None:
            return int(self._redis.run("XLEN", self._key))
        return int(group["pending"]) + int(lag)

    def age_seconds(self) -> float:
        """How long the oldest event that waits for this sink has been waiting."""
        oldest = self._oldest()
        return max(0.0, self._redis.now() - oldest / 1000) if oldest else 0.0

    def ages(self, entries: Sequence[str]) -> list[float]:
        """How long ago each was put, in seconds by Redis's clock."""
        now = self._redis.now()
        return [max(0.0, now - _milliseconds(entry.encode()) / 1000) for entry in entries]

    def _read(self, count: int, block_ms: int | None) -> list[OutboxEvent]:
        self._register()
        self._adopt(count)
        # The own ones first, always: an answer that got lost on its way left its events with us.
        return self._fetch("0", count, None) or self._fetch(">", count, block_ms)

    def _fetch(self, start: str, count: int, block_ms: int | None) -> list[OutboxEvent]:
        wait = () if not block_ms else ("BLOCK", min(block_ms, BLOCK_MS_MAX))
        answer = self._redis.run(
            *("XREADGROUP", "GROUP", self.sink, self._consumer, "COUNT", count),
            *(*wait, "STREAMS", self._key, start),
        )
        entries = answer[0][1] if answer else []
        trimmed = [entry.decode() for entry, fields in entries if not fields]
        self.acknowledge(trimmed)
        return [_event(entry, fields) for entry, fields in entries if fields]

    def _register(self) -> None:
        if self._registered:
            return
        try:
            self._redis.run("XGROUP CREATE", self._key, self.sink, "0", "MKSTREAM")
        except StateRefused as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._registered = True

    def _adopt(self, count: int) -> None:
        """Take over what dead consumers have read and not acknowledged."""
        if time.monotonic() < self._adopted_at + ADOPT_EVERY:
            return
        self._redis.run(
            *("XAUTOCLAIM", self._key, self.sink, self._consumer),
            *(ABANDONED_MS, "0", "COUNT", count),
        )
        self._redis.call(
            "drop_consumers", [self._key], [self.sink, CONSUMER_KEPT_MS, self._consumer]
        )
        self._adopted_at = time.monotonic()

    def _group(self) -> dict[str, Any] | None:
        if not self._redis.run("EXISTS", self._key):
            return None
        groups = self._redis.run("XINFO GROUPS", self._key)
        return next((group for group in groups if group["name"] == self.sink.encode()), None)

    def _oldest(self) -> int:
        """Milliseconds since the epoch of the oldest event that waits; 0: none does."""
        group, after = self._group(), b"-"
        if group is not None:
            if group["pending"]:
                return _milliseconds(self._redis.run("XPENDING", self._key, self.sink)["min"])
            after = b"(" + group["last-delivered-id"]
        first = self._redis.run("XRANGE", self._key, after, "+", "COUNT", 1)
        return _milliseconds(first[0][0]) if first else 0


def oldest_event(commands: Commands) -> datetime | None:
    """When the oldest event that some sink still lacks was put, by Redis's clock; None: none."""
    key = commands.key("outbox")
    commands.call("trim", [key])
    first = commands.run("XRANGE", key, "-", "+", "COUNT", 1)
    return datetime.fromtimestamp(_milliseconds(first[0][0]) / 1000, UTC) if first else None


def _milliseconds(entry: bytes) -> int:
    return int(entry.split(b"-")[0])


def _event(entry: bytes, fields: dict[bytes, bytes]) -> OutboxEvent:
    return OutboxEvent(
        entry=entry.decode(),
        id=fields[b"id"].decode(),
        type=fields[b"type"].decode(),
        json=fields[b"json"].decode(),
    )
