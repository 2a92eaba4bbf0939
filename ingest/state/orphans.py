"""What Redis keeps of mailboxes that are no more: whoever removed one died before all was done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from redis import Redis

from ingest.state.commands import CHUNK, PREFIX, Commands, text

# What has a key for each mailbox.
_NAMES: Final = frozenset({"entries", "records", "attempts", "gone", "compared", "restored"})


class Orphans:
    """Keys of mailboxes that the registry does not know. Raises StateError."""

    def __init__(self, client: Redis, prefix: str = PREFIX) -> None:
        self._redis = Commands(client, prefix)
        names = ("epoch", "run-id", "mailboxes", "standing")
        self._shared = [self._redis.key(name) for name in names]

    def drop(self, going_on: Callable[[], None] = lambda: None) -> int:
        """Drop them; how many. Calls `going_on` for every few thousand keys that Redis has."""
        dropped = 0
        for found in chain(self._keys(), self._standings()):
            going_on()
            if found:
                dropped += int(self._redis.call("drop_orphans", self._shared, found))
        return dropped

    def _keys(self) -> Iterator[Sequence[str]]:
        """A mailbox and a key of it in turn, of all there are, in pages."""
        prefix = self._redis.key("")
        for page in self._scan("SCAN"):
            found: list[str] = []
            for key in map(text, page):
                name, _, mailbox = key.removeprefix(prefix).partition(":")
                if key.startswith(prefix) and name in _NAMES:
                    found += (mailbox, key)
            yield found

    def _standings(self) -> Iterator[Sequence[str]]:
        """Likewise, of mailboxes that may have a standing alone."""
        for page in self._scan("HSCAN", self._shared[-1]):
            mailboxes = map(text, page)
            yield [word for each in mailboxes for word in (each, self._redis.key("entries", each))]

    def _scan(self, *command: str) -> Iterator[Iterable[bytes]]:
        cursor = 0
        while True:
            cursor, page = self._redis.run(*command, cursor, "COUNT", CHUNK)
            yield page
            if not cursor:
                return
