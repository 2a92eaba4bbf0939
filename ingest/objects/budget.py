"""One budget for all upload buffers of a process, so that memory never depends on mail."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from ingest.errors import SessionStopped, SettingsError, StoreUnavailable

BLOCK = 8 * 1024 * 1024  # S3 wants at least 5 MiB for every part but the last
_SLICE = 0.25  # seconds between two looks at stop()


class Budget:
    """Octets that may be held in buffers at a time, and the buffers of one block each.

    Whoever waits longest is served first. Who holds a buffer asks for more with `try_block`, which
    never waits, so there is no deadlock.

    Args:
        octets: of all buffers together.
        patience: seconds after which waiting is given up.
    """

    def __init__(self, octets: int, *, patience: float = 300.0) -> None:
        if octets < BLOCK:
            raise SettingsError(
                f"a buffer budget of {octets} octets is less than one block of {BLOCK}",
                remedy=f"set INGEST_BUFFER_OCTETS to at least {BLOCK}",
            )
        self.octets = octets
        self._free = octets
        self._patience = patience
        self._queue: deque[object] = deque()
        self._spare: list[bytearray] = []  # blocks kept, so that their pages need no new faults
        self._changed = threading.Condition()

    @property
    def free(self) -> int:
        """Octets that nobody holds."""
        return self._free

    def acquire(self, octets: int, stop: Callable[[], bool]) -> None:
        """Hold so many octets, all at once, waiting in line for them.

        Raises:
            SessionStopped: `stop()` said so while we waited.
            StoreUnavailable: nothing came free for too long.
        """
        self._acquire(octets, stop)
        with self._changed:
            self._trim()

    def _acquire(self, octets: int, stop: Callable[[], bool]) -> None:
        if octets > self.octets:
            raise ValueError(f"{octets} octets are more than the whole budget")
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            try:
                self._wait(lambda: self._queue[0] is ticket and self._free >= octets, stop)
                self._free -= octets
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()

    def _wait(self, ready: Callable[[], bool], stop: Callable[[], bool]) -> None:
        waited = 0.0
        while not self._changed.wait_for(ready, _SLICE):
            waited += _SLICE
            if stop():
                raise SessionStopped("stopped while waiting for an upload buffer")
            if waited >= self._patience:
                raise StoreUnavailable(
                    f"no upload buffer came free within {self._patience:.0f} seconds",
                    remedy="see whether the object store is slow, or raise INGEST_BUFFER_OCTETS",
                )

    def acquire_block(self, stop: Callable[[], bool]) -> bytearray:
        """A buffer of BLOCK octets, with any content; waits and raises as `acquire` does."""
        self._acquire(BLOCK, stop)
        return self._block(BLOCK)

    def try_block(self, octets: int = BLOCK) -> bytearray | None:
        """A buffer of so many octets if they are free and nobody waits; never waits itself."""
        with self._changed:
            if self._queue or self._free < octets:
                return None
            self._free -= octets
        return self._block(octets)

    def release(self, octets: int) -> None:
        """Give octets back."""
        with self._changed:
            self._free += octets
            self._trim()
            self._changed.notify_all()

    def release_block(self, block: bytearray, keep: int = 0) -> None:
        """Give a buffer back for the next one to use again; `keep` of its octets stay held."""
        with self._changed:
            self._free += len(block) - keep
            if len(block) == BLOCK:
                self._spare.append(block)
            self._trim()
            self._changed.notify_all()

    def _block(self, octets: int) -> bytearray:
        with self._changed:
            spare = self._spare.pop() if self._spare and octets == BLOCK else None
            self._trim()
        return bytearray(octets) if spare is None else spare

    def _trim(self) -> None:
        while len(self._spare) * BLOCK > self._free:
            self._spare.pop()
