"""An HTTP proxy before an S3 store, which answers in its stead, late, or not at all."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple, cast
from urllib.parse import parse_qs, urlsplit

from tests.servers.ports import HOST

# Of one connection only, so not to be passed on.
_HOP_BY_HOP = {"connection", "expect", "keep-alive", "transfer-encoding"}

# By method and by what the query names; of several the first that fits.
_OPERATIONS = (
    ("POST", "uploads", "create_multipart_upload"),
    ("POST", "uploadId", "complete_multipart_upload"),
    ("PUT", "uploadId", "upload_part"),
    ("DELETE", "uploadId", "abort_multipart_upload"),
    ("GET", "uploads", "list_multipart_uploads"),
    ("GET", "list-type", "list_objects_v2"),
    ("PUT", "", "put_object"),
    ("GET", "", "get_object"),
    ("HEAD", "", "head_object"),
    ("DELETE", "", "delete_object"),
)


class Fault(NamedTuple):
    """What becomes of a request."""

    status: int = 0  # answered with this instead of what the store says; 0: with that
    body: bytes = b""  # of such an answer
    passed: bool = False  # the store gets the request, whatever is answered
    reset: bool = False  # the connection is reset instead of an answer
    seconds: float = 0.0  # passed before the answer
    octets: int | None = None  # the answer's body breaks off after so many


def error(status: int, code: str, *, passed: bool = False) -> Fault:
    """An error as S3 words it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>"
    return Fault(status, body.encode(), passed=passed)


class _Strike(NamedTuple):
    operation: str
    key: str
    fault: Fault


class S3Proxy:
    """A running proxy."""

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target).netloc
        self.endpoint = ""
        self.struck = 0  # requests so far that something befell
        self._strikes: dict[_Strike, float] = {}  # how often each is to happen yet
        self._guard = threading.Lock()

    def strike(
        self, operation: str, fault: Fault, *, key: str = "", times: float = float("inf")
    ) -> None:
        """Let this befall the next requests for the operation, as boto3 names it.

        `key`: only of objects whose key ends so.
        """
        with self._guard:
            self._strikes[_Strike(operation, key, fault)] = times

    def heal(self) -> None:
        """Pass everything on as it is, from now on."""
        with self._guard:
            self._strikes.clear()

    def fault(self, method: str, target: str) -> Fault:
        """What is to become of such a request."""
        path, _, query = target.partition("?")
        names = parse_qs(query, keep_blank_values=True)
        operation = next(
            name
            for of, named, name in _OPERATIONS
            if of == method and (not named or named in names)
        )
        with self._guard:
            for strike, left in self._strikes.items():
                if left and strike.operation == operation and path.endswith(strike.key):
                    self._strikes[strike] = left - 1
                    self.struck += 1
                    return strike.fault
        return Fault()


class _Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class _Server(http.server.ThreadingHTTPServer):
    proxy: S3Proxy


class _Connection(http.server.BaseHTTPRequestHandler):
    """One client's connection, and one to the store."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._proxy = cast("_Server", self.server).proxy
        self._store = http.client.HTTPConnection(self._proxy.target)

    def finish(self) -> None:
        self._store.close()
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - theirs
        """Say nothing."""

    def do_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self._proxy.fault(self.command, self.path)
        answer = _Answer(fault.status, [("Content-Length", str(len(fault.body)))], fault.body)
        if fault.passed or not (fault.status or fault.reset):
            real = self._pass_on(body)
            answer = answer if fault.status else real
        time.sleep(fault.seconds)
        if fault.reset:
            self._reset()
        else:
            self._answer(answer, fault.octets)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_request  # noqa: N815 - theirs

    def _pass_on(self, body: bytes) -> _Answer:
        """Send the request as it came, its Host too: the signature covers that."""
        self._store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, text in self.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self._store.putheader(name, text)
        self._store.endheaders(body)
        with self._store.getresponse() as came:
            return _Answer(came.status, came.getheaders(), came.read())

    def _answer(self, answer: _Answer, octets: int | None) -> None:
        self.send_response_only(answer.status)
        names = {name.lower() for name, _ in answer.headers}
        for name, text in answer.headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, text)
        if "content-length" not in names:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[:octets])
        if octets is not None and octets < len(answer.body):
            self.close_connection = True

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


@contextlib.contextmanager
def s3_proxy(target: str) -> Iterator[S3Proxy]:
    """Run a proxy before the store at that URL, until the end of the block."""
    proxy = S3Proxy(target)
    with _Server((HOST, 0), _Connection) as server:
        server.proxy = proxy
        proxy.endpoint = f"http://{HOST}:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="s3-proxy")
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
