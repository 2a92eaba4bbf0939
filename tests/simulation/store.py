"""The object store of a simulation: the fake, with steps, faults, and uploads that stay behind."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import TypeVar

from ingest.errors import StoreUnavailable
from ingest.model import Octets
from tests.fakes.memory_store import MemoryStore, MemoryWriter
from tests.simulation.faults import Faults
from tests.simulation.scheduler import Scheduler, SimulatedExecutor

Answer = TypeVar("Answer")

_LONGEST_REQUEST = 86400.0  # seconds
_CHANGES = {"create", "commit", "put", "delete"}


class SimulatedStore(MemoryStore):
    """One store for all processes.

    Args:
        scheduler: steps before each operation.
        faults: what fails, before or after it took effect.

    `on_placed` is told of each object that is about to be written.
    """

    def __init__(self, scheduler: Scheduler, faults: Faults) -> None:
        super().__init__(lambda: datetime.fromtimestamp(scheduler.now, UTC))
        self.scheduler = scheduler
        self.uploader = SimulatedExecutor(scheduler, "upload")
        self.quiet = MemoryStore(self.now)  # the same objects, without steps and faults
        self.quiet.objects, self.quiet.modified = self.objects, self.modified
        self._faults_of_seed = faults
        self.on_placed: Callable[[str, bytes], None] = lambda _key, _octets: None

    def act(self, op: str, key: str, effect: Callable[[], Answer]) -> Answer:
        began = self.scheduler.now
        self.scheduler.step(f"store {op} {key[-22:]}")
        if self.scheduler.now - began > _LONGEST_REQUEST:
            raise StoreUnavailable(f"the request to {op} {key} did not outlive the machine's sleep")
        if self._faults_of_seed.strikes("store failed before"):
            raise StoreUnavailable(f"can't {op} {key}")
        answer = effect()
        if op in _CHANGES and self._faults_of_seed.strikes("store failed after"):
            raise StoreUnavailable(f"no answer to {op} {key}")
        return answer

    def place(self, key: str, octets: bytes, content_type: str) -> None:
        self.on_placed(key, octets)
        super().place(key, octets, content_type)

    def create(self, key: str, content_type: str = "application/octet-stream") -> SimulatedWriter:
        def begin() -> SimulatedWriter:
            writer = SimulatedWriter(self, key, content_type)
            self.uploads[writer] = self.now()
            return writer

        return self.act("create", key, begin)


class SimulatedWriter(MemoryWriter):
    """An upload, begun when it is created. Its process may die and leave it behind."""

    def __init__(self, store: SimulatedStore, key: str, content_type: str) -> None:
        super().__init__(store, key, content_type)
        self._simulated = store
        self._process = store.scheduler.current.process
        self._committed = False

    def write(self, octets: Octets) -> None:
        self._octets += octets

    def commit(self) -> Future[None]:
        self._committed = True
        return self._simulated.uploader.submit(
            self._simulated.act, "commit", self._key, self._complete
        )

    def _complete(self) -> None:
        if self._store.uploads.pop(self, None) is None:
            raise StoreUnavailable(f"the upload of {self._key} was aborted")
        self._store.place(self._key, bytes(self._octets), self._content_type)

    def __exit__(self, *_: object) -> None:
        if not self._committed and not self._process.dead:
            self._store.uploads.pop(self, None)
