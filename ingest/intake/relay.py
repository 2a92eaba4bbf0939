"""Outbox to sink: every event at least once, in the order of the outbox."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import structlog

from ingest.events.schema import PROBED
from ingest.failpoints import reach
from ingest.observability import metrics

log = structlog.get_logger()

_AT_ONCE = 500


class OutboxEvent(NamedTuple):
    """An event as the outbox holds it."""

    entry: str  # the outbox's own id of it
    id: str
    type: str
    json: str


class Outbox(Protocol):
    """Events that wait for one sink. Every method raises StateError where Redis fails."""

    sink: str  # its name

    def read(self, count: int, block_ms: int | None = None) -> Sequence[OutboxEvent]:
        """The next events; first those that were read before and never acknowledged."""

    def acknowledge(self, entries: Sequence[str]) -> None:
        """The sink has these for certain."""

    def ages(self, entries: Sequence[str]) -> Sequence[float]:
        """How long ago each was put, in seconds."""

    def trim(self) -> int:
        """Drop what every sink has; how many."""


class Sink(Protocol):
    """Where events go."""

    def publish(self, events: Sequence[OutboxEvent]) -> None:
        """Returns when the sink has confirmed all of them.

        Raises:
            IngestError: it has not; some may have arrived, and all will be sent again.
        """


class Relay:
    """Moves what waits. Safe to call from many threads: one works, the others return.

    Args:
        outbox: what waits.
        sink: where it goes.
        closing: says that the process is about to end.
        beat: called for every few hundred events: the relay is at work.
        probed: called for each event of a canary's probe that the sink has confirmed; where a
            process dies, more than once.
    """

    def __init__(
        self,
        outbox: Outbox,
        sink: Sink,
        closing: Callable[[], bool],
        beat: Callable[[], None] = lambda: None,
        probed: Callable[[OutboxEvent], None] = lambda _: None,
    ) -> None:
        self._outbox = outbox
        self._sink = sink
        self._closing = closing
        self._beat = beat
        self._probed = probed
        self._working = threading.Lock()
        self._published = metrics.published.labels(outbox.sink)
        self._delay = metrics.publish_delay.labels(outbox.sink)

    def drain(self) -> int:
        """Publish until nothing waits; how many events.

        Raises:
            IngestError: Redis or the sink failed; nothing unconfirmed was acknowledged.
        """
        if not self._working.acquire(blocking=False):
            return 0
        try:
            return self._drain()
        finally:
            self._working.release()

    def _drain(self) -> int:
        published = 0
        while not self._closing() and (events := self._outbox.read(_AT_ONCE)):
            self._beat()
            reach("publishing")
            self._sink.publish(events)
            reach("published")
            try:
                self._measure(events)
            finally:
                self._acknowledge([event.entry for event in events])
            published += len(events)
        if published:
            self._outbox.trim()
            log.info("events_published", events=published)
        return published

    def _measure(self, events: Sequence[OutboxEvent]) -> None:
        """Say which of them are probes, while they are read again if we die: else one is missed."""
        for event in events:
            if event.type == PROBED:
                self._probed(event)

    def _acknowledge(self, entries: Sequence[str]) -> None:
        self._outbox.acknowledge(entries)
        reach("acknowledged")
        self._published.inc(len(entries))
        for age in self._outbox.ages(entries):
            self._delay.observe(age)
