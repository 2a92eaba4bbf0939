"""From the outbox to the sink: confirmed before it is acknowledged."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ingest.errors import StateUnavailable
from ingest.events.schema import PROBED
from ingest.intake.relay import OutboxEvent, Relay
from ingest.observability import metrics


class Waiting:
    """An outbox in a list."""

    sink = "list"

    def __init__(self, count: int) -> None:
        self.waiting = [OutboxEvent(str(n), f"id-{n}", "t", "{}") for n in range(count)]
        self.trimmed = 0

    def read(self, count: int, block_ms: int | None = None) -> Sequence[OutboxEvent]:
        return self.waiting[:count]

    def acknowledge(self, entries: Sequence[str]) -> None:
        self.waiting = [event for event in self.waiting if event.entry not in entries]

    def ages(self, entries: Sequence[str]) -> Sequence[float]:
        return [7.0 for _ in entries]

    def trim(self) -> int:
        self.trimmed += 1
        return 0


class Collecting:
    """A sink that can refuse."""

    def __init__(self) -> None:
        self.events: list[OutboxEvent] = []
        self.refusing = False

    def publish(self, events: Sequence[OutboxEvent]) -> None:
        if self.refusing:
            raise StateUnavailable("away")
        self.events += events


def test_everything_that_waits_is_published_in_order() -> None:
    outbox, sink, beats = Waiting(1200), Collecting(), list[int]()
    relay = Relay(outbox, sink, lambda: False, lambda: beats.append(len(sink.events)))
    assert relay.drain() == 1200
    assert [event.id for event in sink.events] == [f"id-{n}" for n in range(1200)]
    assert (outbox.waiting, outbox.trimmed) == ([], 1)
    assert beats == [0, 500, 1000]


def test_what_the_sink_did_not_confirm_stays_and_is_sent_again() -> None:
    outbox, sink = Waiting(3), Collecting()
    relay = Relay(outbox, sink, lambda: False)
    sink.refusing = True
    with pytest.raises(StateUnavailable):
        relay.drain()
    assert len(outbox.waiting) == 3
    sink.refusing = False
    assert relay.drain() == 3


def test_what_was_published_is_counted_though_the_sink_fails_later() -> None:
    def counted(name: str) -> float:
        return metrics.registry.get_sample_value(name, {"sink": "list"}) or 0

    class Short(Collecting):
        def publish(self, events: Sequence[OutboxEvent]) -> None:
            self.refusing = bool(self.events)
            super().publish(events)

    relay = Relay(Waiting(700), Short(), lambda: False)
    before = counted("mail_ingest_events_published_total")
    slow = counted("mail_ingest_publish_delay_seconds_sum")
    with pytest.raises(StateUnavailable):
        relay.drain()
    assert counted("mail_ingest_events_published_total") == before + 500
    assert counted("mail_ingest_publish_delay_seconds_sum") == slow + 500 * 7.0


def test_a_closing_process_publishes_no_more() -> None:
    outbox = Waiting(3)
    assert Relay(outbox, Collecting(), lambda: True).drain() == 0
    assert len(outbox.waiting) == 3


def test_a_probe_is_home_when_the_sink_has_its_event_and_not_before() -> None:
    outbox, sink, home = Waiting(3), Collecting(), list[str]()
    outbox.waiting[1] = outbox.waiting[1]._replace(type=PROBED)
    relay = Relay(outbox, sink, lambda: False, probed=lambda event: home.append(event.id))
    sink.refusing = True
    with pytest.raises(StateUnavailable):
        relay.drain()
    assert home == []
    sink.refusing = False
    relay.drain()
    assert home == ["id-1"]


def test_a_probe_is_measured_though_its_worker_dies_before_it_acknowledges() -> None:
    class Dies(BaseException):
        pass

    class Deadly(Waiting):
        def acknowledge(self, entries: Sequence[str]) -> None:
            raise Dies

    outbox, home = Deadly(1), list[str]()
    outbox.waiting[0] = outbox.waiting[0]._replace(type=PROBED)
    relay = Relay(outbox, Collecting(), lambda: False, probed=lambda event: home.append(event.id))
    with pytest.raises(Dies):
        relay.drain()
    assert home == ["id-0"]


def test_an_event_that_was_published_is_not_published_again_though_its_probe_is_not_measured() -> (
    None
):
    def away(_: OutboxEvent) -> None:
        raise StateUnavailable("away")

    outbox, sink = Waiting(1), Collecting()
    outbox.waiting[0] = outbox.waiting[0]._replace(type=PROBED)
    with pytest.raises(StateUnavailable):
        Relay(outbox, sink, lambda: False, probed=away).drain()
    assert not outbox.waiting
