"""Batches that are being written while their sessions retrieve the next ones."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from contextvars import copy_context
from typing import NamedTuple

from ingest.intake.batch import Batch

# Batches of a session being written while its next is retrieved.
MOST_IN_FLIGHT = 4


class SealedBatch(NamedTuple):
    """A batch whose commit object is being written."""

    batch: Batch
    writing: Future[None]


class InFlight:
    """How many a process holds in memory, whichever sessions they are of.

    Args:
        most: past so many, sessions wait for theirs before they retrieve more. As many as can be
            written at a time, and as many again, keep the store busy; more are memory that does
            nothing.
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


def write_behind(
    batches: Iterable[Batch | None], committer: Executor, in_flight: InFlight
) -> Iterator[SealedBatch]:
    """Write each batch while the next is filled; yield each when it is likely to be written.

    Args:
        batches: of one session, full; None: a moment to look at those being written.
        committer: where they are written.
        in_flight: those of all sessions.
    """
    waiting: deque[SealedBatch] = deque()
    try:
        for batch in batches:
            if batch:
                context = copy_context()  # of the log and of the current span
                writing = committer.submit(context.run, batch.write)
                in_flight.add()
                waiting.append(SealedBatch(batch, writing))
            while waiting and (
                len(waiting) > MOST_IN_FLIGHT or waiting[0].writing.done() or in_flight.crowded
            ):
                yield waiting[0]
                in_flight.release(waiting.popleft().writing)
        while waiting:
            yield waiting[0]
            in_flight.release(waiting.popleft().writing)
    finally:
        for sealed in waiting:
            in_flight.release(sealed.writing)
