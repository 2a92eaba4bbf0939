"""Keeping the leases of a process alive, and knowing when one is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Protocol

import structlog

from ingest.errors import StateError
from ingest.model import Lease

log = structlog.get_logger()


class Renewing(Protocol):
    """What renews leases."""

    def renew(self, leases: Collection[Lease], lease_seconds: float) -> set[Lease]:
        """See `Schedule.renew`."""


class LeaseKeeper:
    """One thread that renews all leases of the process, in one call, three times in their life.

    A lease that was not renewed in time counts as lost, also when Redis can't be asked: its time
    is measured from before the request that renewed it, by the monotonic clock.

    Args:
        schedule: what renews.
        lease_seconds: how long a lease lasts.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        schedule: Renewing,
        lease_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._schedule = schedule
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._ends: dict[Lease, float] = {}
        self._guard = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def hold(self, lease: Lease) -> Iterator[Lease]:
        """Keep the lease alive within the block. Giving it back is the caller's."""
        with self._guard:
            # The claim was answered some time after it was granted: assume at most half a lease.
            self._ends[lease] = self._clock() + self._lease_seconds / 2
            self._ensure_thread()
        try:
            yield lease
        finally:
            with self._guard:
                del self._ends[lease]

    def lost(self, lease: Lease) -> bool:
        """Whether somebody else may hold the mailbox now."""
        return self._clock() >= self._ends.get(lease, float("-inf"))

    def renew(self) -> bool:
        """Renew all held leases once; False where Redis can't be asked."""
        asked = self._clock()
        with self._guard:
            held = [lease for lease, end in self._ends.items() if end > asked]
        if not held:
            return True
        try:
            gone = self._schedule.renew(held, self._lease_seconds)
        except StateError as error:
            log.warning("leases_not_renewed", leases=len(held), error=error.code)
            return False
        with self._guard:
            for lease in self._ends.keys() & set(held):
                self._ends[lease] = float("-inf") if lease in gone else asked + self._lease_seconds
        for lease in gone:
            log.warning("lease_lost", mailbox=lease.mailbox)
        return True

    def close(self) -> None:
        """Stop renewing."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()

    def _ensure_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        pause = self._lease_seconds / 3
        while not self._closing.wait(pause):
            pause = self._lease_seconds / (3 if self.renew() else 10)
