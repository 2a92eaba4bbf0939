"""What probes and Prometheus ask of a process, over HTTP.

    /metrics   the metrics
    /healthz   200 while what works beats the heart; 503 once it stopped: restart the process
    /readyz    200 while Redis and the store answer; 503 otherwise, with the reasons

A worker can lose its consumer and still answer pings, so its health is what its tasks do, not
that it runs. Beat's heart beats when its loop turns, and it needs no store. Answers are a line or
two of text and name no secrets.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import structlog

from ingest.errors import IngestError, SettingsError
from ingest.observability import metrics

_REQUESTS = 16  # answered at a time; a connection past them is closed
_REQUEST_SECONDS = 5.0  # silence after which a request is dropped

Check = Callable[[], object]
Answer = tuple[HTTPStatus, str, bytes]

_PLAIN = "text/plain; charset=utf-8"
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"

log = structlog.get_logger()


class Heartbeat:
    """The time since what works began, or last showed that it is at work. Starting is a beat, too.

    `silence` says what has not been seen for so long.
    """

    def __init__(
        self,
        limit_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        silence: str = "no task has been at work",
    ) -> None:
        self._limit = limit_seconds
        self._clock = clock
        self._silence = silence
        self._last = clock()
        self.doing = ""  # what it waits for meanwhile, where that is known; names no secrets

    def beat(self) -> None:
        """What works begins, or goes on."""
        self._last = self._clock()
        self.doing = ""

    def age_seconds(self) -> float:
        """How old the last beat is."""
        return self._clock() - self._last

    def complaint(self) -> str:
        """One line when the last beat is older than the limit; empty while all is well."""
        silent = self.age_seconds()
        if silent <= self._limit:
            return ""
        why = f": {self.doing}" if self.doing else ""
        return f"{self._silence} for {silent:.0f} s (limit {self._limit:.0f} s){why}"


class HealthServer:
    """Answers on a thread of its own until closed.

    `checks` are tried in order for /readyz; one that raises makes the process unready. `setting` is
    the one that chooses the port.

    Raises:
        SettingsError: the address can't be listened on.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        heartbeat: Heartbeat,
        checks: Mapping[str, Check],
        setting: str = "INGEST_METRICS_PORT",
    ) -> None:
        self._heartbeat = heartbeat
        self._checks = dict(checks)
        self._checking = threading.Lock()
        for name in checks:
            metrics.readiness_failures.labels(name)
        try:
            self._server = _BoundedServer((host, port), self._answer)
        except OSError as error:
            raise SettingsError(
                f"can't listen on {host}:{port} for metrics and health: {error.strerror or error}",
                remedy=f"set {setting} to a free port, or to 0 for none",
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="health", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on, also where 0 asked for any."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _answer(self, path: str) -> Answer:
        if path == "/metrics":
            return HTTPStatus.OK, _EXPOSITION, metrics.exposition()
        if path == "/healthz":
            return _verdict(self._heartbeat.complaint())
        if path == "/readyz":
            return _verdict(self._unready())
        return HTTPStatus.NOT_FOUND, _PLAIN, b"not found\n"

    def _unready(self) -> str:
        # One at a time: checks that hang must not use up the threads that /healthz needs.
        if not self._checking.acquire(blocking=False):
            return "an earlier check has not ended yet"
        try:
            return "\n".join(filter(None, (_try(*item) for item in self._checks.items())))
        finally:
            self._checking.release()


def _try(name: str, check: Check) -> str:
    try:
        check()
    except Exception as error:  # noqa: BLE001 - whatever a check raises means: not ready
        metrics.readiness_failures.labels(name).inc()
        # Only our own messages are known to be one line without secrets.
        reason = str(error) if isinstance(error, IngestError) else type(error).__name__
        return f"{name}: {reason}"
    return ""


def _verdict(complaint: str) -> Answer:
    if complaint:
        return HTTPStatus.SERVICE_UNAVAILABLE, _PLAIN, f"{complaint}\n".encode()
    return HTTPStatus.OK, _PLAIN, b"ok\n"


class _BoundedServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], answer: Callable[[str], Answer]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.answer = answer
        self._free = threading.BoundedSemaphore(_REQUESTS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # The base class looks up our own name, which can take seconds where DNS is slow. A worker
        # that is started again must not wait for the last connections of the one before.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "mail-ingest", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - socketserver's
        log.debug("health.request_failed", error=type(sys.exception()).__name__)


class _Handler(BaseHTTPRequestHandler):
    server: _BoundedServer
    timeout = _REQUEST_SECONDS
    server_version = "mail-ingest"
    sys_version = ""

    def do_GET(self) -> None:
        self._reply(self.path.partition("?")[0])

    do_HEAD = do_GET  # noqa: N815 - http.server's

    def _reply(self, path: str) -> None:
        try:
            status, kind, body = self.server.answer(path)
        except Exception:
            log.exception("health.answer_failed", path=path)
            status, kind, body = HTTPStatus.INTERNAL_SERVER_ERROR, _PLAIN, b"internal error\n"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's
        """Say nothing: probes would fill the log."""
