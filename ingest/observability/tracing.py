"""Spans of OpenTelemetry: one trace for each session, from its claim to its events' delivery.

    with tracing.span("message", listed_octets=listed.octets):
        ...
        tracing.note(record=record.id)

Off until `exporting` is entered: then nothing of OpenTelemetry is imported, and each of these is
one call that does nothing. Attributes are identifiers and numbers, as in the log: no secrets, no
addresses, no subjects.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from ingest.errors import SettingsError

if TYPE_CHECKING:
    from ingest.observability.spans import Attribute, Spans

_NONE = nullcontext()
_spans: Spans | None = None


@contextmanager
def exporting(deployment: str) -> Iterator[None]:
    """Send the spans of the block to the collector that the standard OTEL_* variables name.

    Leaving the block waits a few seconds for what is not sent yet, and drops the rest.

    Args:
        deployment: the fleet, which is the spans' service namespace.

    Raises:
        SettingsError: the extra `tracing` is not installed, or a variable does not fit.
    """
    global _spans
    try:
        from ingest.observability.spans import Spans  # noqa: PLC0415 - an extra, a quarter second
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"spans are asked for, but {error.name} is not installed",
            remedy="pip install '.[tracing]' in the source tree, or unset "
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ) from None
    before, _spans = _spans, Spans(deployment)
    try:
        yield
    finally:
        ended, _spans = _spans, before
        ended.close()


def active() -> Spans | None:
    """What makes spans; None: tracing is off."""
    return _spans


def span(
    name: str, /, *, parent: str = "", **attributes: Attribute
) -> AbstractContextManager[None]:
    """A span around the block, below the current one or that of another process.

    An exception that leaves the block is its status, by class: its text may quote a message. Log
    lines of the block have `trace_id` and `span_id`.

    Args:
        name: static, as a log event's.
        parent: a `traceparent`; empty: the current span, or none. Where there is none, the id of
            the log's bound `session` is the trace's id, too.
        attributes: each gets the prefix `mail_ingest.`.
    """
    return _NONE if _spans is None else _spans.span(name, parent, attributes)


def note(**attributes: Attribute) -> None:
    """Add to the current span what is known only now."""
    if _spans is not None:
        _spans.note(attributes)


def traceparent() -> str:
    """The current span, for another process (W3C Trace Context); empty: there is none."""
    return "" if _spans is None else _spans.traceparent()
