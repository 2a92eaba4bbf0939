"""What `ingest.observability.tracing` does when it is on, by OpenTelemetry's SDK.

Where spans go, which traces are kept and how many spans may wait is read by the SDK from the
standard OTEL_* variables.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeAlias

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from structlog.contextvars import bound_contextvars, get_contextvars

import ingest
from ingest.errors import IngestError, SettingsError

Attribute: TypeAlias = "str | int | float"

# Of a process that ends: a collector that hangs must not use up its grace period.
_LAST_SECONDS = 5.0

_NONE = nullcontext()
_propagator = TraceContextTextMapPropagator()


class OpenSpan:
    """A span that whoever began it ends. Thread-safe."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def note(self, **attributes: Attribute) -> None:
        """Add what is known only now."""
        self._span.set_attributes(_prefixed(attributes))

    def end(self, error: BaseException | None = None) -> None:
        """It is over, or failed."""
        if error is not None:
            _fail(self._span, error)
        self._span.end()


class Spans:
    """Makes spans, and sends them from a thread of its own; what it can't send in time it drops.

    Args:
        deployment: the service namespace, unless OTEL_RESOURCE_ATTRIBUTES has one.

    Raises:
        SettingsError: an OTEL_* variable does not fit.
    """

    def __init__(self, deployment: str) -> None:
        # It quotes headers that it can't read, and they hold keys; settings have checked them.
        logging.getLogger("opentelemetry.util.re").setLevel(logging.ERROR)
        ours = {
            "service.name": "mail-ingest",
            "service.namespace": deployment,
            "service.version": ingest.__version__,
        }
        resource = Resource.create().merge(Resource(ours)).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(
            resource=resource, id_generator=_SessionIds(), shutdown_on_exit=False
        )
        try:
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        except ValueError as error:
            raise SettingsError(
                f"the OTEL_* variables do not fit: {error}", remedy="see deploy/tracing.md"
            ) from None
        self._tracer = self._provider.get_tracer("ingest", ingest.__version__)

    def close(self) -> None:
        """Send what waits, for a few seconds."""
        # The provider itself would wait for half a minute.
        last = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(_LAST_SECONDS)

    def span(
        self, name: str, parent: str, attributes: Mapping[str, Attribute]
    ) -> AbstractContextManager[None]:
        """See `tracing.span`. Below a span that is not kept it does nothing: nor would this be."""
        above = trace.get_current_span().get_span_context()
        if above.is_valid and not above.trace_flags.sampled and not parent:
            return _NONE
        return self._span(name, parent, attributes)

    @contextmanager
    def _span(self, name: str, parent: str, attributes: Mapping[str, Attribute]) -> Iterator[None]:
        span = self._start(name, parent, attributes)
        context = span.get_span_context()
        ids = {
            "trace_id": trace.format_trace_id(context.trace_id),
            "span_id": trace.format_span_id(context.span_id),
        }
        with (
            trace.use_span(
                span, end_on_exit=True, record_exception=False, set_status_on_exception=False
            ),
            bound_contextvars(**ids),
        ):
            try:
                yield
            except BaseException as error:
                _fail(span, error)
                raise

    def note(self, attributes: Mapping[str, Attribute]) -> None:
        """See `tracing.note`."""
        span = trace.get_current_span()
        if span.is_recording():
            span.set_attributes(_prefixed(attributes))

    def begin(self, name: str, /, **attributes: Attribute) -> OpenSpan:
        """A span below the current one that never becomes that; it may end in another thread."""
        return OpenSpan(self._start(name, "", attributes))

    def begin_delivery(self, parent: str, /, **attributes: Attribute) -> OpenSpan | None:
        """A span of an event on its way to a sink; None where its trace is not kept.

        Args:
            parent: the event's `traceparent`; empty: it has none.
            attributes: as `tracing.span`'s.
        """
        if not trace.get_current_span(_context(parent)).get_span_context().trace_flags.sampled:
            return None
        return OpenSpan(self._start("publish", parent, attributes, trace.SpanKind.PRODUCER))

    def traceparent(self) -> str:
        """See `tracing.traceparent`."""
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        return carrier.get("traceparent", "")

    def _start(
        self,
        name: str,
        parent: str,
        attributes: Mapping[str, Attribute],
        kind: trace.SpanKind = trace.SpanKind.INTERNAL,
    ) -> trace.Span:
        context = _context(parent) if parent else None
        return self._tracer.start_span(name, context, kind, _prefixed(attributes))


class _SessionIds(RandomIdGenerator):
    """A session's trace has the session's id, so that what knows the one knows the other."""

    def generate_trace_id(self) -> int:
        session = get_contextvars().get("session")
        return int(session, 16) if session else super().generate_trace_id()


def _context(traceparent: str) -> Context:
    """That span as the parent of others; none where it is no `traceparent`."""
    return _propagator.extract({"traceparent": traceparent}, Context())


def _fail(span: trace.Span, error: BaseException) -> None:
    kind = error.code if isinstance(error, IngestError) else type(error).__name__
    span.set_attribute("error.type", kind)
    span.set_status(trace.StatusCode.ERROR, kind)


def _prefixed(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {f"mail_ingest.{name}": value for name, value in attributes.items()}
