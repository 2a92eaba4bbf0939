"""Spans of a real worker, as a collector gets them."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ingest.state.connect import connect
from tests import messages
from tests.e2e.fleet import Fleet, fleet
from tests.servers.dovecot import PASSWORD, Dovecot, Maildrop
from tests.servers.otlp import Collector, Span, collector
from tests.servers.valkey import Valkey

ROOT = Path(__file__).parents[2]
POISON = ROOT / "tests" / "faults" / "poison"  # a parser that dies


@pytest.fixture
def collecting() -> Iterator[Collector]:
    with collector() as server:
        yield server


@pytest.fixture
def ours(tmp_path: Path, valkey: Valkey, collecting: Collector) -> Iterator[Fleet]:
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collecting.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with fleet(tmp_path, valkey.url, settings) as made:
        yield made


def lines(ours: Fleet) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ours.logs().splitlines() if line.startswith("{")]


def published(ours: Fleet) -> list[bytes]:
    """The events exactly as consumers get them."""
    with contextlib.closing(connect(ours.settings.redis_url)) as client:
        entries: Any = client.xrange(ours.settings.events_stream)
    return [fields[b"event"] for _, fields in entries]


@pytest.mark.timeout(120)
def test_one_trace_leads_from_the_session_to_each_delivery_and_to_the_log(
    ours: Fleet, dovecot: Dovecot, maildrop: Maildrop, collecting: Collector
) -> None:
    octets = [messages.small(1).octets, messages.with_attachment(2, 300_000).octets]
    maildrop.deliver_many(octets)
    mailbox = ours.add(dovecot, maildrop.name)
    ours.start("worker")
    ours.start("beat")
    ours.wait(lambda: len(collecting.named("publish")) == 2, 30)

    its_id = collecting.named("message")[0].trace
    ours.wait(lambda: any(span.trace == its_id for span in collecting.named("session")), 30)
    spans = [span for span in list(collecting.spans) if span.trace == its_id]
    by_name = {name: [span for span in spans if span.name == name] for name in NAMES}
    assert {name: len(found) for name, found in by_name.items()} == NAMES
    [session], [part] = by_name["session"], by_name["part"]
    assert (session.parent, session.attributes["mail_ingest.mailbox"]) == ("", mailbox.id)
    assert {span.parent for span in by_name["message"] + by_name["commit"]} == {session.id}
    large = max(by_name["message"], key=lambda span: span.attributes["mail_ingest.octets"])
    assert part.parent == large.id
    assert part.attributes["mail_ingest.octets"] == 300_000
    assert {span.kind for span in by_name["publish"]} == {"PRODUCER"}
    assert session.resource["service.name"] == session.resource["service.namespace"]
    assert not [span.error for span in spans if span.error]

    assert_events_continue_it(ours, by_name)
    assert_the_log_has_its_ids(ours, session)
    listed = attributes()
    for span in spans:
        assert {name.removeprefix("mail_ingest.") for name in span.attributes} <= listed[span.name]
    told = repr(spans)
    assert not [word for word in ("@", PASSWORD, maildrop.name, "Subject") if word in told]


NAMES = {"session": 1, "message": 2, "part": 1, "commit": 1, "publish": 2}


def attributes() -> dict[str, set[str]]:
    """Of each span, as deploy/tracing.md lists them."""
    rows = re.findall(
        r"^\| `(\w+)` \| [^|`]+ \| ([^|]+) \|$",
        (ROOT / "deploy" / "tracing.md").read_text(),
        re.MULTILINE,
    )
    return {name: set(re.findall(r"`(\w+)`", listed)) for name, listed in rows}


def assert_events_continue_it(ours: Fleet, spans: dict[str, list[Span]]) -> None:
    by_record = {span.attributes["mail_ingest.record"]: span for span in spans["message"]}
    deliveries = {span.attributes["mail_ingest.event_id"]: span for span in spans["publish"]}
    for event in ours.events():
        message = by_record.pop(event.data.record)
        context = TraceContextTextMapPropagator().extract({"traceparent": event.traceparent})
        parent = trace.get_current_span(context).get_span_context()
        assert f"{parent.trace_id:032x} {parent.span_id:016x}" == f"{message.trace} {message.id}"
        assert parent.trace_flags.sampled
        assert event.data.session == message.trace
        assert deliveries[event.id].parent == message.id
    assert not by_record


def assert_the_log_has_its_ids(ours: Fleet, session: Span) -> None:
    of_session = [line for line in lines(ours) if line.get("session") == session.trace]
    assert [line["event"] for line in of_session].count("message_committed") == 2
    assert of_session[-1]["event"] == "session_completed"
    assert {line["trace_id"] for line in of_session} == {session.trace}
    assert {line["span_id"] for line in of_session} == {session.id}


@pytest.mark.timeout(120)
def test_an_event_that_is_published_again_has_the_trace_it_had(
    ours: Fleet, dovecot: Dovecot, maildrop: Maildrop, collecting: Collector, valkey: Valkey
) -> None:
    maildrop.deliver(messages.small(3).octets)
    ours.add(dovecot, maildrop.name)
    ours.run("poll", maildrop.name)
    [first] = published(ours)
    with contextlib.closing(connect(valkey.url)) as client:
        client.flushall()
    ours.run("reconcile", "--since", "1d")
    ours.start("worker")
    ours.start("beat")
    ours.wait(lambda: bool(published(ours)), 30)
    assert published(ours) == [first]
    ours.wait(lambda: len(collecting.named("publish")) == 2, 30)
    assert len({span.parent for span in collecting.named("publish")}) == 1


@pytest.mark.timeout(120)
def test_what_a_process_of_its_own_does_for_a_session_is_below_it(
    ours: Fleet, dovecot: Dovecot, maildrop: Maildrop, collecting: Collector
) -> None:
    ours.environment["PYTHONPATH"] = f"{POISON}:{ROOT}"
    ours.environment["INGEST_LEASE_SECONDS"] = "2"
    maildrop.deliver(b"Subject: poison\r\nX-Poison: yes\r\n\r\nboom\r\n")
    mailbox = ours.add(dovecot, maildrop.name)
    working = [sys.executable, "-m", "tests.faults.armed", mailbox.group]
    assert ours.launch(working).process.wait(30) == -signal.SIGKILL
    ours.launch(working)
    ours.wait(lambda: bool(collecting.named("publish")), 60)
    [message], [isolated] = collecting.named("message"), collecting.named("isolated")
    ours.wait(lambda: any(span.id == isolated.parent for span in collecting.named("session")), 30)
    assert message.parent == isolated.id
    assert message.attributes["mail_ingest.parsed"] is False
    assert message.resource != collecting.named("session")[0].resource
    [event] = ours.events()
    assert event.data.session == message.trace == isolated.trace
    of_child = [line for line in lines(ours) if line["event"] == "message_committed"]
    assert [(line["session"], line["mailbox"]) for line in of_child] == [
        (message.trace, mailbox.id)
    ]


@pytest.mark.exam
@pytest.mark.timeout(120)
@pytest.mark.parametrize("collector_is", ["hanging", "away"])
def test_a_collector_that_fails_holds_up_no_session_and_no_shutdown(
    ours: Fleet,
    dovecot: Dovecot,
    maildrop: Maildrop,
    collecting: Collector,
    collector_is: str,
) -> None:
    if collector_is == "hanging":
        collecting.answering.clear()
    else:
        ours.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    maildrop.deliver_many([messages.small(seed).octets for seed in range(50)])
    ours.add(dovecot, maildrop.name)
    worker = ours.start("worker")
    ours.start("beat")
    ours.wait(lambda: len(ours.events()) == 50 and not maildrop.count(), 30)
    if collector_is == "hanging":
        ours.wait(lambda: bool(collecting.requests), 30)

    asked = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(30) == 0
    assert time.monotonic() - asked < 12
    assert worker.said("worker_stopped")
    assert "Traceback" not in ours.logs()
