"""What could not be taken in as it should: stored unparsed, or left on its server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from redis import Redis

from ingest.intake import policy
from ingest.state.commands import CHUNK, PREFIX, Commands, text


class Quarantined(NamedTuple):
    """A message that is stored without having been parsed."""

    record_id: str
    mailbox: str  # id
    batch: str


class Skipped(NamedTuple):
    """A message that broke sessions or workers too often, and is left on its server."""

    mailbox: str  # id
    unique_id: str
    attempts: int


class Quarantine:
    """Both kinds, to be looked at and tried again. Raises StateError where Redis fails.

    The ledger puts quarantined messages in; a read-back restores them.
    """

    def __init__(self, client: Redis, prefix: str = PREFIX) -> None:
        self._redis = Commands(client, prefix)
        self._key = self._redis.key("quarantine")

    def stored(self) -> Iterator[Quarantined]:
        """Every quarantined message, in no order."""
        cursor = 0
        while True:
            cursor, page = self._redis.run("HSCAN", self._key, cursor, "COUNT", CHUNK)
            for record_id, place in page.items():
                mailbox, _, batch = text(place).partition(" ")
                yield Quarantined(record_id.hex(), mailbox, batch)
            if not cursor:
                return

    def discard(self, record_id: str) -> bool:
        """Take a message out of quarantine; its octets stay stored. False: it was not in it."""
        return bool(self._redis.run("HDEL", self._key, bytes.fromhex(record_id)))

    def skipped(self, mailbox: str) -> list[Skipped]:
        """What a mailbox's sessions skip."""
        counts = self._redis.run("HGETALL", self._redis.key("attempts", mailbox))
        tried = [Skipped(mailbox, text(name), int(count)) for name, count in counts.items()]
        return [one for one in tried if one.attempts > 2 * policy.MOST_ATTEMPTS]

    def forgive(self, mailbox: str, unique_id: str) -> bool:
        """Let the next session try a skipped message as if it were new; False: it knows none."""
        name = unique_id.encode("utf-8", "surrogateescape")
        return bool(self._redis.run("HDEL", self._redis.key("attempts", mailbox), name))
