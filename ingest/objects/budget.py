"""One budget for all upload buffers of a process, so that memory never depends on mail."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar

from ingest.errors import BuffersTaken, SessionStopped, SettingsError

BLOCK = 8 * 1024 * 1024  # S3 wants at least 5 MiB for every part but the last
_SLICE = 0.25  # seconds between two looks at stop()

# The limit group whose session this is. Between the session and its writers stand layers that have
# nothing to do with it.
limit_group: ContextVar[str] = ContextVar("limit_group", default="")


class Budget:
    """Octets that may be held in buffers at a time, and the buffers of one block each.

    Whoever waits longest is served first. There are two exceptions:

    - A group may hold no more than is left to the others, so at most half. A server that sends
      attachments in drops keeps its blocks for hours; others never wait for them.
    - One block is kept for those who must wait while they hold one already (`nested`), one at a
      time of each group: they get done and give back both, so there is no deadlock.

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
        self._held: Counter[str] = Counter()  # octets of each group
        self._nested: set[Share] = set()  # those that hold something
        self._waiting: list[Share] = []
        self._spare: list[bytearray] = []  # blocks kept, so that their pages need no new faults
        self._changed = threading.Condition()

    @property
    def free(self) -> int:
        """Octets that nobody holds."""
        return self._free

    def share(self, *, nested: bool = False) -> Share:
        """What one writer of the current limit group holds, nothing yet.

        Args:
            nested: the caller holds a block of another share already, and will give both back.
        """
        return Share(self, limit_group.get(), nested=nested)

    def acquire(self, share: Share, stop: Callable[[], bool]) -> bytearray:
        """See `Share.acquire_block`."""
        with self._changed:
            self._waiting.append(share)
            try:
                self._wait(lambda: self._next() is share, stop)
                return self._take(share, BLOCK)
            finally:
                self._waiting.remove(share)
                self._changed.notify_all()

    def attempt(self, share: Share, octets: int) -> bytearray | None:
        """See `Share.try_block`."""
        with self._changed:
            if self._next() is not None or not self._fits(share, octets):
                return None
            return self._take(share, octets)

    def release(self, share: Share, octets: int, block: bytearray | None) -> None:
        """See `Share.release`."""
        with self._changed:
            self._free += octets
            self._held[share.group] -= octets
            share.octets -= octets
            if not share.octets:
                self._nested.discard(share)
            if block is not None and len(block) == BLOCK:
                self._spare.append(block)
            self._trim()
            self._changed.notify_all()

    def _next(self) -> Share | None:
        """Who is served next of those who wait; None: nobody can be."""
        ready = [share for share in self._waiting if self._may(share)]
        return min(ready, key=lambda share: not share.nested, default=None)

    def _may(self, share: Share) -> bool:
        """Whether a share may have one more block now."""
        if self._fits(share, BLOCK):
            return True
        groups = {other.group for other in self._nested}
        return share.nested and self._free >= BLOCK and share.group not in groups

    def _fits(self, share: Share, octets: int) -> bool:
        """Whether a share may have so many octets more and the kept block stays."""
        free = self._free - self._kept
        return octets <= free and self._held[share.group] + octets <= free

    def _take(self, share: Share, octets: int) -> bytearray:
        self._free -= octets
        self._held[share.group] += octets
        share.octets += octets
        if share.nested:
            self._nested.add(share)
        spare = self._spare.pop() if self._spare and octets == BLOCK else None
        self._trim()
        return bytearray(octets) if spare is None else spare

    def _wait(self, ready: Callable[[], bool], stop: Callable[[], bool]) -> None:
        waited = 0.0
        while not self._changed.wait_for(ready, _SLICE):
            waited += _SLICE
            if stop():
                raise SessionStopped("stopped while waiting for an upload buffer")
            if waited >= self._patience:
                raise BuffersTaken(
                    f"no upload buffer came free within {self._patience:.0f} seconds",
                    remedy="see whether the object store is slow, or raise INGEST_BUFFER_OCTETS",
                )

    def _trim(self) -> None:
        while len(self._spare) * BLOCK > self._free:
            self._spare.pop()


class Share:
    """What one writer holds of a budget.

    Args:
        budget: what it counts against.
        group: the limit group that it counts for.
        nested: its thread holds a block of another share.
    """

    def __init__(self, budget: Budget, group: str, *, nested: bool) -> None:
        self.group = group
        self.nested = nested
        self.octets = 0
        self._budget = budget

    def acquire_block(self, stop: Callable[[], bool]) -> bytearray:
        """A buffer of BLOCK octets, with any content, waiting in line for it.

        Args:
            stop: says at a shutdown that waiting is over.

        Raises:
            SessionStopped: `stop()` said so.
            BuffersTaken: nothing came free for too long.
        """
        return self._budget.acquire(self, stop)

    def try_block(self, octets: int = BLOCK) -> bytearray | None:
        """A buffer of so many octets if they are free and nobody could have them instead."""
        return self._budget.attempt(self, octets)

    def release_block(self, block: bytearray, keep: int = 0) -> None:
        """Give a buffer back for the next one to use again; `keep` of its octets stay held."""
        self._budget.release(self, len(block) - keep, block)

    def release(self, octets: int) -> None:
        """Give octets back that were kept."""
        self._budget.release(self, octets, None)
