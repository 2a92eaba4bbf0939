"""As much of S3 as our store uses, over HTTP, that fails in ways no real one can be made to.

It checks no signatures. Operations are named as in the Amazon S3 API reference.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.certificates import Certificates
from tests.servers.ports import HOST

XML = '<?xml version="1.0" encoding="UTF-8"?>'


class Fault(NamedTuple):
    """What becomes of one request."""

    status: int = 0  # 0: the connection is closed without an answer
    code: str = ""  # of S3
    after: bool = False  # whether the request takes effect all the same
    cut: int = -1  # only so many octets of the body are sent


class S3Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, certificates: Certificates | None = None) -> None:
        super().__init__((HOST, 0), _Answers)
        self._scheme = "http"
        if certificates:
            self._scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates.certificate, certificates.key)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.lock = threading.Lock()
        self._count = 0
        self.forget()

    def forget(self) -> None:
        """As if it were new."""
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.headers: list[tuple[str, dict[str, str]]] = []  # of each request
        self.operations: list[str] = []
        self._faults: dict[str, list[Fault]] = {}

    @property
    def endpoint(self) -> str:
        return f"{self._scheme}://{HOST}:{self.server_port}"

    def fail(self, operation: str, *faults: Fault) -> None:
        """Let the next requests of the operation fail so, one after the other."""
        self._faults.setdefault(operation, []).extend(faults)

    def next_fault(self, operation: str) -> Fault | None:
        with self.lock:
            self.operations.append(operation)
            faults = self._faults.get(operation)
            return faults.pop(0) if faults else None

    def begin(self) -> str:
        with self.lock:
            self._count += 1
            upload = f"upload-{self._count}"
            self.uploads[upload] = {}
            return upload

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


_OPERATIONS = {
    ("PUT", False, False): "PutObject",
    ("GET", False, False): "GetObject",
    ("HEAD", False, False): "HeadObject",
    ("DELETE", False, False): "DeleteObject",
    ("POST", True, False): "CreateMultipartUpload",
    ("PUT", False, True): "UploadPart",
    ("POST", False, True): "CompleteMultipartUpload",
    ("DELETE", False, True): "AbortMultipartUpload",
}


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: S3Server

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, True).items()}
        key = unquote(parts.path).split("/", 2)[-1]
        operation = _OPERATIONS.get((self.command, "uploads" in query, "uploadId" in query), "")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.headers.append((operation, dict(self.headers.items())))
        fault = self.server.next_fault(operation)
        if fault and not fault.after and fault.cut < 0:
            self._fail(fault)
            return
        status, answer, headers = self._act(operation, key, query, body)
        if fault and fault.cut < 0:
            self._fail(fault)
            return
        self._answer(status, answer, headers, cut=fault.cut if fault else -1)

    do_PUT = do_GET = do_HEAD = do_DELETE = do_POST = _serve  # noqa: N815 - as the library calls them

    def _fail(self, fault: Fault) -> None:
        if fault.status:
            body = f"{XML}<Error><Code>{fault.code}</Code><Message>m</Message></Error>".encode()
            # Said aloud, or the client may send its next request down the same connection.
            self._answer(fault.status, body, {"Connection": "close"})
        self.close_connection = True

    def _answer(self, status: int, body: bytes, headers: dict[str, str], cut: int = -1) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if cut < 0 else body[:cut])
        if cut >= 0:
            self.close_connection = True

    def _act(  # noqa: PLR0911 - one for each operation
        self, operation: str, key: str, query: dict[str, str], body: bytes
    ) -> tuple[int, bytes, dict[str, str]]:
        etag = {"ETag": '"e"'}
        upload = query.get("uploadId", "")
        if upload and upload not in self.server.uploads:
            return self._error(404, "NoSuchUpload")
        match operation:
            case "PutObject":
                self.server.objects[key] = body
                return 200, b"", etag
            case "CreateMultipartUpload":
                begun = f"<UploadId>{self.server.begin()}</UploadId>"
                root = "InitiateMultipartUploadResult"
                return 200, f"{XML}<{root}>{begun}</{root}>".encode(), {}
            case "UploadPart":
                self.server.uploads[upload][int(query["partNumber"])] = body
                return 200, b"", etag
            case "CompleteMultipartUpload":
                stored = self.server.uploads.pop(upload)
                self.server.objects[key] = b"".join(stored[number] for number in sorted(stored))
                root = "CompleteMultipartUploadResult"
                return 200, f"{XML}<{root}><ETag>e</ETag></{root}>".encode(), {}
            case "AbortMultipartUpload":
                del self.server.uploads[upload]
                return 204, b"", {}
            case "DeleteObject":
                self.server.objects.pop(key, None)
                return 204, b"", {}
            case _:
                return self._get(key)

    def _get(self, key: str) -> tuple[int, bytes, dict[str, str]]:
        if key not in self.server.objects:
            return self._error(404, "NoSuchKey")
        whole = self.server.objects[key]
        if self.command == "HEAD":
            return 200, b"", {"Content-Length": str(len(whole)), "ETag": '"e"'}
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        end = int(last) + 1 if last else len(whole)
        return 206 if "Range" in self.headers else 200, whole[int(first) : end], {"ETag": '"e"'}

    def _error(self, status: int, code: str) -> tuple[int, bytes, dict[str, str]]:
        return status, f"{XML}<Error><Code>{code}</Code></Error>".encode(), {}


@contextlib.contextmanager
def s3_server(certificates: Certificates | None = None) -> Iterator[S3Server]:
    with S3Server(certificates) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
