"""Which messages a session starts, in which order, and when it starts no more."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import structlog

from ingest.failpoints import reach
from ingest.intake.attempts import Attempts
from ingest.intake.report import SessionReport
from ingest.model import Listed
from ingest.observability import metrics

log = structlog.get_logger(__name__)

# Attempts counted in one call of the ledger, before these messages are retrieved.
_COUNTED_AT_ONCE = 256


class SessionLimits(NamedTuple):
    """A session starts no more messages past these."""

    messages: int
    octets: int  # as LIST announces them
    seconds: float


class Queue:
    """The messages that a session is to retrieve. Each attempt is counted before it is started.

    One that is beyond help is skipped.

    Args:
        wanted: the messages, in the order of the maildrop.
        attempts: the session's.
        limits: when to start no more.
        closing: says that no more should be started, whatever the limits.
        report: where skipped messages and those left for the next session are counted.
    """

    def __init__(
        self,
        wanted: Iterable[Listed],
        attempts: Attempts,
        limits: SessionLimits,
        closing: Callable[[], bool],
        report: SessionReport,
    ) -> None:
        self.started: deque[Listed] = deque()  # RETR was or will be sent; the first is coming in
        self._waiting = deque(wanted)
        self._ready: deque[Listed] = deque()
        self._attempts = attempts
        self._limits = limits
        self._closing = closing
        self._report = report
        self._messages = self._octets = 0
        # What the limits leave for the next session is counted there.
        first = islice(self._waiting, limits.messages)
        self._unretrieved = min(sum(listed.octets for listed in first), limits.octets)
        metrics.waiting_octets.inc(self._unretrieved)
        self._begun = time.monotonic()

    def __iter__(self) -> Iterator[Listed]:
        """Start one after the other; `started` holds each until `finish`."""
        while self._ready or self._waiting:
            if not self._ready:
                self._count()
            elif self._is_over():
                self._leave()
                return
            else:
                listed = self._ready.popleft()
                self._messages += 1
                self._octets += listed.octets
                self.started.append(listed)
                yield listed

    def finish(self) -> None:
        """The first of those started was dealt with."""
        self._settle(self.started.popleft().octets)

    def close(self) -> None:
        """Whatever is left is not retrieved here."""
        self._settle(self._unretrieved)

    def _settle(self, octets: int) -> None:
        octets = min(octets, self._unretrieved)
        self._unretrieved -= octets
        metrics.waiting_octets.dec(octets)

    def _is_over(self) -> bool:
        return (
            self._messages >= self._limits.messages
            or self._octets >= self._limits.octets
            or time.monotonic() - self._begun >= self._limits.seconds
            or self._closing()
        )

    def _leave(self) -> None:
        self._report.left = len(self._ready) + len(self._waiting)
        self._attempts.take_back(self._ready)

    def _count(self) -> None:
        """Count the attempts at the next ones."""
        chunk = [self._waiting.popleft() for _ in range(min(_COUNTED_AT_ONCE, len(self._waiting)))]
        self._attempts.count(chunk)
        reach("attempts-counted")
        for listed in chunk:
            if self._attempts.care(listed) == "skip":
                self._report.skipped += 1
                metrics.messages.labels("skipped").inc()
                log.error("message_skipped", number=listed.number, octets=listed.octets)
            else:
                self._ready.append(listed)
