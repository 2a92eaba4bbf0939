"""What Redis keeps of mailboxes that are no more: whoever removed one died before all was done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain

from redis import Redis

from ingest.state.commands import CHUNK, PREFIX, Commands, text
from ingest.state.ledger import OF_EACH_MAILBOX
from ingest.state.registry import Registry


class Orphans:
    """Keys of mailboxes that neither registry nor store know. Raises StateError and StoreError.

    A mailbox that the store has and Redis does not, since its settings were damaged when they were
    read back, is to find its own again.
    """

    def __init__(self, client: Redis, registry: Registry, prefix: str = PREFIX) -> None:
        self._redis = Commands(client, prefix)
        self._registry = registry
        names = ("epoch", "run-id", "mailboxes", "standing")
        self._shared = [self._redis.key(name) for name in names]

    def drop(self, going_on: Callable[[], None] = lambda: None) -> int:
        """Drop them; how many.

        Calls `going_on` for every few thousand keys that Redis has, and for each mailbox that it
        does not know.
        """
        known = frozenset(self._registry.ids())

        @cache
        def is_gone(mailbox: str) -> bool:
            if mailbox in known:
                return False
            going_on()
            return not self._registry.is_stored(mailbox)

        dropped = 0
        for page in chain(self._keys(), self._standings()):
            going_on()
            found = [word for mailbox, key in page if is_gone(mailbox) for word in (mailbox, key)]
            if found:
                dropped += int(self._redis.call("drop_orphans", self._shared, found))
        return dropped

    def _keys(self) -> Iterator[Sequence[tuple[str, str]]]:
        """All mailboxes with a key of theirs, in pages."""
        prefix = self._redis.key("")
        for page in self._scan("SCAN"):
            found: list[tuple[str, str]] = []
            for key in map(text, page):
                name, _, mailbox = key.removeprefix(prefix).partition(":")
                if key.startswith(prefix) and name in OF_EACH_MAILBOX:
                    found.append((mailbox, key))
            yield found

    def _standings(self) -> Iterator[Sequence[tuple[str, str]]]:
        """Likewise, of mailboxes that may have a standing alone."""
        for page in self._scan("HSCAN", self._shared[-1]):
            yield [(mailbox, self._redis.key("entries", mailbox)) for mailbox in map(text, page)]

    def _scan(self, *command: str) -> Iterator[Iterable[bytes]]:
        cursor = 0
        while True:
            cursor, page = self._redis.run(*command, cursor, "COUNT", CHUNK)
            yield page
            if not cursor:
                return
