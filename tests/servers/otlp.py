"""An OpenTelemetry collector as far as spans go: OTLP over HTTP, as protobuf."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.servers.ports import HOST


class Span(NamedTuple):
    """One span that came in. Ids are lower-case hexadecimal."""

    name: str
    trace: str
    id: str
    parent: str  # empty: it is a root
    kind: str
    error: str  # the status's description; empty: none
    attributes: dict[str, str | int | float | bool]
    resource: dict[str, str | int | float | bool]


class Collector(ThreadingHTTPServer):
    """Keeps what it is sent. While `answering` is not set, requests wait for it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Receiver)
        self.answering = threading.Event()
        self.answering.set()
        self.requests = 0
        self.spans: list[Span] = []
        self.headers: list[dict[str, str]] = []

    @property
    def endpoint(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is to be."""
        return f"http://{HOST}:{self.server_port}"

    def named(self, name: str) -> list[Span]:
        """The spans of that name."""
        return [span for span in list(self.spans) if span.name == name]

    def take(self, body: bytes) -> None:
        """Keep the spans of a request."""
        request = ExportTraceServiceRequest.FromString(body)
        for group in request.resource_spans:
            resource = _values(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [_span(span, resource) for span in scope.spans]


class _Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Collector

    def do_POST(self) -> None:
        self.server.requests += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.answering.wait()
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        found = self.path == "/v1/traces"
        if found:
            self.server.headers.append(dict(self.headers.items()))
            self.server.take(body)
        with contextlib.suppress(OSError):  # whoever asked has gone
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def _span(span: trace_pb2.Span, resource: dict[str, str | int | float | bool]) -> Span:
    return Span(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        error=span.status.message,
        attributes=_values(span.attributes),
        resource=resource,
    )


def _values(pairs: Iterator[KeyValue]) -> dict[str, str | int | float | bool]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> str | int | float | bool:
    kind = value.WhichOneof("value")
    assert kind in {"string_value", "int_value", "double_value", "bool_value"}
    found: str | int | float | bool = getattr(value, kind)
    return found


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    """A collector that serves for the length of the block."""
    with Collector() as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,), name="collector")
        serving.start()
        try:
            yield server
        finally:
            server.answering.set()
            server.shutdown()
            serving.join()
