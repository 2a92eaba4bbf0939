"""The batches of a process that are held in memory, whichever sessions they are of."""

from __future__ import annotations

import threading
from concurrent.futures import Future


class InFlight:
    """How many there are, and whether sessions should wait for theirs before they retrieve more.

    Args:
        most: past so many, they should. As many as can be written at a time, and as many again,
            keep the store busy; more are memory that does nothing.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._now = 0
        self._guard = threading.Lock()

    def add(self) -> None:
        """One more is being written."""
        with self._guard:
            self._now += 1

    def release(self, writing: Future[None]) -> None:
        """Its session needs one no longer: it is none as soon as that is done."""
        writing.add_done_callback(self._remove)

    @property
    def crowded(self) -> bool:
        """Whether there are too many."""
        return self._now > self._most

    def _remove(self, _writing: Future[None]) -> None:
        with self._guard:
            self._now -= 1
