"""The ports whose work has spans of its own: wrapped so only where tracing is on."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from ingest.intake.ports import Log, PartWriter
from ingest.intake.relay import OutboxEvent, Sink
from ingest.model import Octets, Record

if TYPE_CHECKING:
    from ingest.observability.spans import OpenSpan, Spans


class TracedLog:
    """A `Log` with a span for each object of a message, and for the commit object.

    Args:
        log: does the work.
        spans: makes the spans.
    """

    def __init__(self, log: Log, spans: Spans) -> None:
        self._log = log
        self._spans = spans
        self.begin = log.begin
        self.discard = log.discard
        self.uri = log.uri
        self.record_uri = log.record_uri

    def create_part(self, batch: str, number: int) -> PartWriter:
        span = self._spans.begin("part")  # before what may wait for a buffer
        try:
            writer = self._log.create_part(batch, number)
        except BaseException as error:
            span.end(error)
            raise
        span.note(key=writer.key)
        return _TracedPart(writer, span)

    def commit(self, batch: str, entries: Sequence[tuple[Record, bytes | None]]) -> None:
        with self._spans.span("commit", "", {"batch": batch, "messages": len(entries)}):
            self._log.commit(batch, entries)


class _TracedPart(AbstractContextManager["_TracedPart"]):
    """A `PartWriter` whose span ends when its object is durable, or given up."""

    def __init__(self, writer: PartWriter, span: OpenSpan) -> None:
        self._writer = writer
        self._span = span
        self._octets = 0
        self._committed = False

    @property
    def key(self) -> str:
        return self._writer.key

    def write(self, octets: Octets) -> None:
        self._octets += len(octets)
        self._writer.write(octets)

    def commit(self) -> Future[None]:
        future = self._writer.commit()
        self._committed = True
        self._span.note(octets=self._octets)
        future.add_done_callback(lambda done: self._span.end(done.exception()))
        return future

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, traceback)
        if not self._committed:
            self._span.note(aborted=True)
            self._span.end()


class _Traced(msgspec.Struct):
    """All that is read of an event here."""

    traceparent: str = ""


_decode = msgspec.json.Decoder(_Traced).decode


class TracedSink:
    """A `Sink` with a span for each event, below the span of the message that it is about.

    Args:
        sink: does the work.
        name: of the sink.
        spans: makes the spans.
    """

    def __init__(self, sink: Sink, name: str, spans: Spans) -> None:
        self._sink = sink
        self._name = name
        self._spans = spans

    def publish(self, events: Sequence[OutboxEvent]) -> None:
        deliveries = [self._begin(event) for event in events]
        failed: BaseException | None = None
        try:
            self._sink.publish(events)
        except BaseException as error:
            failed = error
            raise
        finally:
            for delivery in deliveries:
                if delivery is not None:
                    delivery.end(failed)

    def _begin(self, event: OutboxEvent) -> OpenSpan | None:
        try:
            traceparent = _decode(event.json).traceparent
        except msgspec.DecodeError:  # whatever it is, spans hold up no event
            return None
        return self._spans.begin_delivery(traceparent, sink=self._name, event_id=event.id)
