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

    Whoever waits longest is served first. One block is kept for those who must wait while they
    hold one already (`nested`): with at most one more each they get done and give back both, so
    there is no deadlock.

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
        self._kept = BLOCK if octets >= 2 * BLOCK else 0
        self._queue: deque[object] = deque()
        self._nested: deque[object] = deque()  # served before the others
        self._spare: list[bytearray] = []  # blocks kept, so that their pages need no new faults
        self._changed = threading.Condition()

    @property
    def free(self) -> int:
        """Octets that nobody holds."""
        return self._free

    def acquire_block(self, stop: Callable[[], bool], *, nested: bool = False) -> bytearray:
        """A buffer of BLOCK octets, with any content, waiting in line for it.

        Args:
            stop: says at a shutdown that waiting is over.
            nested: the caller holds a block already, and will give both back.

        Raises:
            SessionStopped: `stop()` said so while we waited.
            StoreUnavailable: nothing came free for too long.
        """
        least = BLOCK if nested else BLOCK + self._kept
        ticket = object()
        line = self._nested if nested else self._queue

        def next_in_line() -> bool:
            return line[0] is ticket and (nested or not self._nested) and self._free >= least

        with self._changed:
            line.append(ticket)
            try:
                self._wait(next_in_line, stop)
                self._free -= BLOCK
            finally:
                line.remove(ticket)
                self._changed.notify_all()
        return self._block(BLOCK)

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

    def try_block(self, octets: int = BLOCK) -> bytearray | None:
        """A buffer of so many octets if they are free and nobody waits; never waits itself."""
        with self._changed:
            if self._queue or self._nested or self._free < octets + self._kept:
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
