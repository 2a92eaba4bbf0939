"""An object store in memory: same semantics as the real ones, faults on request, and a journal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import NamedTuple, Self, TypeVar

from ingest.errors import ObjectMissing, StoreError, StoreFull
from ingest.intake.ports import StoredObject
from ingest.model import Octets
from ingest.objects import keys
from ingest.objects.probe import Probe

Answer = TypeVar("Answer")


class Fault(NamedTuple):
    op: str
    error: Exception
    after: bool  # whether the operation takes effect before it fails


class MemoryStore:
    """Objects in a dict.

    `journal` lists each operation and its key in order. `full` refuses every octet. The operations
    are create, write, commit, put, read, size, list, delete and abort_uploads.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.objects: dict[str, bytes] = {}
        self.modified: dict[str, datetime] = {}
        self.content_types: dict[str, str] = {}
        self.uploads: dict[MemoryWriter, datetime] = {}
        self.journal: list[tuple[str, str]] = []
        self.full = False
        self._clock = clock
        self._faults: dict[tuple[str, int], Fault] = {}
        self._calls: dict[str, int] = {}
        self._running = threading.Event()
        self._running.set()
        self._frozen_commits: list[Callable[[], None]] = []
        self._lock = threading.RLock()

    def fail(self, op: str, error: Exception, *, nth: int = 1, after: bool = False) -> None:
        """Let the nth call of the operation from now on fail, before or after it took effect."""
        self._faults[op, self._calls.get(op, 0) + nth] = Fault(op, error, after)

    def freeze(self) -> None:
        """Let every operation wait; a commit's future stays pending."""
        self._running.clear()

    def thaw(self) -> None:
        self._running.set()
        for commit in self._frozen_commits:
            commit()
        self._frozen_commits.clear()

    def commits(self) -> Sequence[str]:
        """The keys of the commit objects, in order."""
        return [key for key in sorted(self.objects) if key.endswith("/commit.zip")]

    def act(self, op: str, key: str, effect: Callable[[], Answer]) -> Answer:
        self._running.wait()
        with self._lock:
            self.journal.append((op, key))
            self._calls[op] = self._calls.get(op, 0) + 1
            fault = self._faults.pop((op, self._calls[op]), None)
            if fault and not fault.after:
                raise fault.error
            if self.full and op in {"create", "write", "commit", "put"}:
                raise StoreFull(f"can't {op} {key}: the store is full")
            answer = effect()
            if fault:
                raise fault.error
            return answer

    def act_later(self, op: str, key: str, effect: Callable[[], None]) -> Future[None]:
        future: Future[None] = Future()

        def act() -> None:
            try:
                future.set_result(self.act(op, key, effect))
            except StoreError as error:
                future.set_exception(error)

        if self._running.is_set():
            act()
        else:
            self._frozen_commits.append(act)
        return future

    def place(self, key: str, octets: bytes, content_type: str) -> None:
        self.objects[key] = octets
        self.modified[key] = self._clock()
        self.content_types[key] = content_type

    def create(self, key: str, content_type: str = "application/octet-stream") -> MemoryWriter:
        keys.check(key)

        def begin() -> MemoryWriter:
            writer = MemoryWriter(self, key, content_type)
            self.uploads[writer] = self._clock()
            return writer

        return self.act("create", key, begin)

    def put(self, key: str, octets: bytes) -> None:
        keys.check(key)
        self.act("put", key, lambda: self.place(key, bytes(octets), "application/octet-stream"))

    def _found(self, key: str) -> bytes:
        if keys.check(key) not in self.objects:
            raise ObjectMissing(f"{key} is not in the store")
        return self.objects[key]

    def read(self, key: str, start: int = 0, octets: int | None = None) -> Iterator[bytes]:
        stored = self.act("read", key, lambda: self._found(key))
        end = len(stored) if octets is None else min(len(stored), start + octets)
        for at in range(start, end, 65536):
            yield stored[at : min(at + 65536, end)]

    def size(self, key: str) -> int:
        return self.act("size", key, lambda: len(self._found(key)))

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        for key in self.act("list", prefix, lambda: sorted(self.objects)):
            if key.startswith(prefix) and key > after and key in self.objects:
                yield StoredObject(key, len(self.objects[key]), self.modified[key])

    def delete(self, keys: Collection[str]) -> None:
        for key in keys:
            self.act("delete", key, lambda key=key: self.objects.pop(key, None))  # type: ignore[misc]  # bound per turn

    def abort_uploads(self, before: datetime) -> int:
        def abort() -> int:
            old = [writer for writer, begun in self.uploads.items() if begun < before]
            for writer in old:
                del self.uploads[writer]
            return len(old)

        return self.act("abort_uploads", "", abort)

    def now(self) -> datetime:
        return self._clock()

    def uri(self, key: str) -> str:
        return f"memory:///{keys.check(key)}"

    def probe(self) -> Probe:
        return Probe({}, checksums=None, clock_skew=0.0)

    def close(self) -> None:
        self.thaw()


class MemoryWriter:
    def __init__(self, store: MemoryStore, key: str, content_type: str) -> None:
        self._store = store
        self._key = key
        self._content_type = content_type
        self._octets = bytearray()

    @property
    def key(self) -> str:
        return self._key

    def write(self, octets: Octets) -> None:
        self._store.act("write", self._key, lambda: self._octets.extend(octets))

    def commit(self) -> Future[None]:
        if self not in self._store.uploads:
            raise ValueError("committed or aborted before")
        del self._store.uploads[self]
        return self._store.act_later(
            "commit",
            self._key,
            lambda: self._store.place(self._key, bytes(self._octets), self._content_type),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.uploads.pop(self, None)
