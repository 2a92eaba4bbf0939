"""Spans of objects, commits and deliveries, as a collector gets them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from ingest.errors import StateUnavailable, StoreFull, StoreUnavailable
from ingest.intake.relay import OutboxEvent
from ingest.intake.traced import TracedLog, TracedSink
from ingest.objects.log import StoreLog
from ingest.observability import tracing
from ingest.observability.spans import Spans
from tests.fakes.memory_store import MemoryStore
from tests.servers.otlp import Collector, collector

TRACE = "5c2779f09365478cee21d8c75ece69f3"
MESSAGE = "e9fdc23e3b790c4f"


@pytest.fixture
def collecting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collector() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.endpoint)
        yield server


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def upload(store: MemoryStore, spans: Spans, *, commit: bool = True) -> None:
    log = TracedLog(StoreLog(store), spans)
    with log.create_part(log.begin(), 1) as part:
        part.write(b"12345")
        part.write(memoryview(b"678"))
        if commit:
            part.commit()


def active() -> Spans:
    spans = tracing.active()
    assert spans
    return spans


def test_a_part_is_over_when_its_object_is_durable(
    collecting: Collector, store: MemoryStore
) -> None:
    with tracing.exporting("fleet"):
        log = TracedLog(StoreLog(store), active())
        with log.create_part(log.begin(), 1) as part:
            part.write(b"12345678")
            store.freeze()
            durable = part.commit()
        assert not durable.done()
        with tracing.span("meanwhile"):
            pass
        store.thaw()
    assert [span.name for span in collecting.spans] == ["meanwhile", "part"]
    [key] = store.objects
    assert collecting.spans[1].attributes == {"mail_ingest.key": key, "mail_ingest.octets": 8}
    assert collecting.spans[1].error == ""


def test_a_part_that_is_given_up_says_so(collecting: Collector, store: MemoryStore) -> None:
    with tracing.exporting("fleet"):
        upload(store, active(), commit=False)
    [span] = collecting.spans
    assert (span.attributes["mail_ingest.aborted"], span.error) == (True, "")
    assert not store.objects
    assert not store.uploads


def test_a_part_that_fails_has_the_class_of_its_error(
    collecting: Collector, store: MemoryStore
) -> None:
    with tracing.exporting("fleet"):
        store.fail("commit", StoreUnavailable("away"))
        upload(store, active())
        store.fail("create", StoreFull("no room"))
        with pytest.raises(StoreFull):
            upload(store, active())
    assert [span.error for span in collecting.named("part")] == ["store_unavailable", "store_full"]


def test_a_commit_that_fails_has_the_class_of_its_error(
    collecting: Collector, store: MemoryStore
) -> None:
    store.fail("put", StoreUnavailable("away"))
    with tracing.exporting("fleet"):
        log = TracedLog(StoreLog(store), active())
        with pytest.raises(StoreUnavailable):
            log.commit(log.begin(), [])
        log.commit(log.begin(), [])
    assert [span.error for span in collecting.named("commit")] == ["store_unavailable", ""]


class Sometimes:
    """A sink that refuses the first time."""

    def __init__(self) -> None:
        self.published: list[str] = []
        self.refusing = True

    def publish(self, events: Sequence[OutboxEvent]) -> None:
        refusing, self.refusing = self.refusing, False
        if refusing:
            raise StateUnavailable("away")
        self.published += [event.id for event in events]


def test_each_delivery_is_below_its_message_also_when_it_is_tried_again(
    collecting: Collector,
) -> None:
    traced = f'{{"id":"a","traceparent":"00-{TRACE}-{MESSAGE}-01","data":{{"octets":1}}}}'
    unkept = traced.replace("-01", "-00")
    events = [
        OutboxEvent("1-0", "a", "t", traced),
        OutboxEvent("1-1", "b", "t", unkept),
        OutboxEvent("1-2", "c", "t", '{"id":"c"}'),
        OutboxEvent("1-3", "d", "t", '{"traceparent":4}'),
        OutboxEvent("1-4", "e", "t", "cut"),
    ]
    inner = Sometimes()
    with tracing.exporting("fleet"):
        sink = TracedSink(inner, "stream", active())
        with pytest.raises(StateUnavailable):
            sink.publish(events)
        sink.publish(events)
    assert inner.published == ["a", "b", "c", "d", "e"]
    assert {(span.trace, span.parent) for span in collecting.spans} == {(TRACE, MESSAGE)}
    assert [span.error for span in collecting.named("publish")] == ["state_unavailable", ""]
    assert collecting.spans[0].attributes["mail_ingest.event_id"] == "a"
