"""The log of commit objects on an object store."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache

from ulid import ULID

from ingest.errors import StoreError
from ingest.failpoints import reach
from ingest.intake.ports import ObjectStore, PartWriter
from ingest.model import Record
from ingest.objects import commits, keys

# A clock that goes back so far was wrong before, and batches must not be dated by it any longer.
_SET_BACK_MS = 60_000


class StoreLog:
    """The `Log` of the intake, and the way back: which batches there are, and their records."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._latest = 0  # batch, in milliseconds since the epoch
        self._beginning = threading.Lock()
        # A batch has many records.
        self._commit_uri = lru_cache(maxsize=64)(lambda batch: store.uri(keys.commit(batch)))

    def begin(self) -> str:
        """As the protocol says; later than the one before, where the clock went back a little."""
        with self._beginning:
            now = int(self._store.now().timestamp() * 1000)
            set_back = now < self._latest - _SET_BACK_MS
            self._latest = now if set_back else max(now, self._latest + 1)
            return str(ULID.from_timestamp(self._latest))

    def create_part(self, batch: str, number: int) -> PartWriter:
        return self._store.create(keys.part(batch, number))

    def commit(self, batch: str, entries: Sequence[tuple[Record, bytes | None]]) -> None:
        reach("commit-sending")
        self._store.put(keys.commit(batch), commits.encode(entries))
        reach("commit-written")

    def discard(self, keys: Sequence[str]) -> None:
        with suppress(StoreError):  # a store without the right to delete keeps a few octets more
            self._store.delete(keys)

    def uri(self, key: str) -> str:
        return self._store.uri(key)

    def record_uri(self, batch: str, index: int) -> str:
        return f"{self._commit_uri(batch)}#{index}/record.json"

    def committed(self, since: datetime | None = None) -> Iterator[str]:
        """The ids of all batches with a commit object, begun in the hour of `since` or later."""
        after = "" if since is None else keys.hour_prefix(since)
        for stored in self._store.list(keys.MAIL, after):
            found = keys.parse(stored.key)
            if found and found.name == "commit.zip":
                yield found.batch

    def records(self, batch: str) -> list[Record]:
        """The records of a batch, in their order."""
        return list(commits.CommitReader(self._store, keys.commit(batch)).records())
