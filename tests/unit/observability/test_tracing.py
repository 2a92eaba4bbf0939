"""Spans, from the calls in our code to what a collector gets."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from ingest.errors import MaildropBusy, SettingsError
from ingest.observability import tracing
from tests.servers.otlp import Collector, collector

SESSION = "5c2779f09365478cee21d8c75ece69f3"


@pytest.fixture
def collecting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collector() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.endpoint)
        yield server


def test_nothing_of_it_is_imported_where_it_is_off() -> None:
    # The Redis client looks for OpenTelemetry's metrics by itself, and takes them where they are.
    program = (
        "import sys, ingest.cli.app, ingest.tasks.tasks\n"
        "names = ('opentelemetry.sdk.trace', 'opentelemetry.exporter', 'google', 'requests')\n"
        "print([name for name in sys.modules if name.startswith(names)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"[]\n"


def test_off_it_does_nothing() -> None:
    with tracing.span("session", mailbox="m"):
        tracing.note(octets=3)
        assert tracing.traceparent() == ""
        assert structlog.contextvars.get_contextvars() == {}
    assert tracing.active() is None


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ingest.observability.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with (
        pytest.raises(SettingsError, match="opentelemetry is not installed") as raised,
        tracing.exporting("fleet"),
    ):
        pass
    assert ".[tracing]" in raised.value.remedy


@pytest.mark.usefixtures("collecting")
def test_a_variable_that_does_not_fit_is_a_setting_that_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    with pytest.raises(SettingsError, match="max_queue_size"), tracing.exporting("fleet"):
        pass


def test_what_waits_is_sent_at_the_end(collecting: Collector) -> None:
    with (
        tracing.exporting("fleet"),
        structlog.contextvars.bound_contextvars(session=SESSION),
        tracing.span("session", mailbox="m"),
    ):
        tracing.note(octets=3)
        with tracing.span("message"):
            pass
    [message], [session] = collecting.named("message"), collecting.named("session")
    assert (session.trace, session.parent) == (SESSION, "")
    assert (message.trace, message.parent) == (SESSION, session.id)
    assert session.attributes == {"mail_ingest.mailbox": "m", "mail_ingest.octets": 3}
    assert session.resource["service.name"] == "mail-ingest"
    assert session.resource["service.namespace"] == "fleet"


def test_the_standard_variables_name_the_service(
    collecting: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "orders")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=shop,zone=a")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=sesame")
    with tracing.exporting("fleet"), tracing.span("session"):
        pass
    [span] = collecting.spans
    assert [span.resource[f"service.{name}"] for name in ("name", "namespace")] == [
        "orders",
        "shop",
    ]
    assert span.resource["zone"] == "a"
    assert collecting.headers[0]["api-key"] == "sesame"


def test_an_error_is_told_by_its_class_and_never_by_its_text(collecting: Collector) -> None:
    with tracing.exporting("fleet"):
        for error in (MaildropBusy("jo@example.org is locked"), KeyError("jo@example.org")):
            with pytest.raises(type(error)), tracing.span("session"):
                raise error
    assert [span.error for span in collecting.spans] == ["busy", "KeyError"]
    assert [span.attributes for span in collecting.spans] == [
        {"error.type": "busy"},
        {"error.type": "KeyError"},
    ]
    assert "jo@" not in repr(collecting.spans)


def test_another_process_goes_on_below_a_span_of_this_one(collecting: Collector) -> None:
    with tracing.exporting("fleet"), tracing.span("session"):
        parent = tracing.traceparent()
    with tracing.exporting("fleet"), tracing.span("isolated", parent=parent):
        pass
    [session, isolated] = collecting.spans
    assert (isolated.trace, isolated.parent) == (session.trace, session.id)


def test_a_trace_that_is_not_kept_goes_on_as_such(
    collecting: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    kept, dropped = "7" * 32, "9" * 32  # below and above the half of what there is
    with tracing.exporting("fleet"):
        spans = tracing.active()
        assert spans
        for session in (kept, dropped):
            with (
                structlog.contextvars.bound_contextvars(session=session),
                tracing.span("session"),
            ):
                parent = tracing.traceparent()
                assert parent.split("-")[1] == session
                with tracing.span("message"):
                    tracing.note(octets=3)
                    assert tracing.traceparent().split("-")[1] == session
            delivery = spans.begin_delivery(parent, sink="s")
            assert (delivery is None) == (session == dropped)
            if delivery:
                delivery.end()
    assert [(span.name, span.trace) for span in collecting.spans] == [
        ("message", kept),
        ("session", kept),
        ("publish", kept),
    ]


@pytest.mark.usefixtures("collecting")
@pytest.mark.parametrize("parent", ["", "00-0-0-01", "\x00", "00-" + "a" * 400])
def test_an_event_without_a_trace_is_delivered_without_a_span(parent: str) -> None:
    with tracing.exporting("fleet"):
        spans = tracing.active()
        assert spans
        assert spans.begin_delivery(parent, sink="s") is None


def test_log_lines_have_the_ids_of_the_span_that_they_are_in(collecting: Collector) -> None:
    stream = io.StringIO()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.JSONRenderer()],
        logger_factory=structlog.WriteLoggerFactory(stream),
    )
    try:
        log = structlog.get_logger()
        with tracing.exporting("fleet"), tracing.span("session"):
            with tracing.span("message"):
                log.info("inner")
            log.info("outer")
        log.info("after")
    finally:
        structlog.reset_defaults()
    inner, outer, after = map(json.loads, stream.getvalue().splitlines())
    assert [line["span_id"] for line in (inner, outer)] == [span.id for span in collecting.spans]
    assert {line["trace_id"] for line in (inner, outer)} == {collecting.spans[0].trace}
    assert after == {"event": "after"}


@pytest.mark.usefixtures("collecting")
def test_headers_that_can_not_be_read_are_not_quoted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key\x7f=sesame")
    with tracing.exporting("fleet"), tracing.span("session"):
        pass
    assert "sesame" not in caplog.text
