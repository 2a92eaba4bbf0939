"""What an object store is asked, in the requests that S3 counts and bills."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from datetime import datetime

from ingest.intake.ports import ObjectStore, PartWriter, StoredObject

_PAGE = 1_000  # objects that one LIST gives


class CountedStore:
    """A store whose reading is counted; a directory is counted as if it were S3.

    Args:
        store: what is asked.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.requests = 0  # GET, HEAD and LIST
        self.listed = 0  # objects
        self._store = store
        self._counting = threading.Lock()

    def read(self, key: str, start: int = 0, octets: int | None = None) -> Iterator[bytes]:
        self._count(1)
        return self._store.read(key, start, octets)

    def size(self, key: str) -> int:
        self._count(1)
        return self._store.size(key)

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        self._count(1)
        for number, stored in enumerate(self._store.list(prefix, after)):
            self._count(number > 0 and number % _PAGE == 0, 1)
            yield stored

    def create(self, key: str, content_type: str = "application/octet-stream") -> PartWriter:
        return self._store.create(key, content_type)

    def put(self, key: str, octets: bytes) -> None:
        self._store.put(key, octets)

    def delete(self, keys: Collection[str]) -> None:
        self._store.delete(keys)

    def abort_uploads(self, before: datetime) -> int:
        return self._store.abort_uploads(before)

    def now(self) -> datetime:
        return self._store.now()

    def uri(self, key: str) -> str:
        return self._store.uri(key)

    def _count(self, requests: int, listed: int = 0) -> None:
        with self._counting:  # several threads read
            self.requests += requests
            self.listed += listed
