"""A small, honest POP3 server for the demo: on loopback, over TLS, with maildrops in memory.

It follows RFC 1939 (with TOP, UIDL, USER), RFC 2449 (CAPA, PIPELINING, response codes) and
RFC 5034 (AUTH PLAIN). Deletes take effect at QUIT, and one session at a time has a maildrop.
"""

from __future__ import annotations

import binascii
import hmac
import ipaddress
import socketserver
import ssl
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import ClassVar, NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_MAX_LINE = 1024  # octets of a command; AUTH's initial response is the longest
_IDLE_SECONDS = 60.0
_SLICE = 256 * 1024  # octets sent at a time

_CAPABILITIES = ("TOP", "UIDL", "USER", "SASL PLAIN", "PIPELINING", "RESP-CODES")


class Waiting(NamedTuple):
    """One message in a maildrop."""

    unique_id: str
    octets: bytes  # ends with CR LF


class Maildrop:
    """The messages of one user, and who has them open."""

    def __init__(self, messages: Sequence[Waiting]) -> None:
        self.messages = tuple(messages)
        self.lock = threading.Lock()  # held by the session that is signed in


class DemoServer:
    """Serves `maildrops` by user name, all with one password, until closed.

    `certificate` is the path where its throw-away certificate is written; trust that file.
    """

    def __init__(
        self, maildrops: Mapping[str, Sequence[Waiting]], *, password: str, directory: Path
    ) -> None:
        self.certificate = directory / "demo-server.pem"
        self._server = _Server(_tls_context(self.certificate), password)
        self._server.maildrops = {user: Maildrop(these) for user, these in maildrops.items()}
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="demo-pop3", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The loopback port it listens on."""
        return int(self._server.server_address[1])

    def waiting(self, user: str) -> Sequence[Waiting]:
        """What is on the server for this user now."""
        return self._server.maildrops[user].messages

    def close(self) -> None:
        """Stop listening."""
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


def _tls_context(certificate: Path) -> ssl.SSLContext:
    """A context with a certificate for localhost that is good for two days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    day = timedelta(days=1)
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = certificate.with_suffix(".key")
    private.touch(0o600)
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    private.unlink()
    return context


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    maildrops: Mapping[str, Maildrop]

    def __init__(self, context: ssl.SSLContext, password: str) -> None:
        self.context = context
        self.password = password
        super().__init__(("127.0.0.1", 0), _Session)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that went away is no fault of the demo's."""


class _Refused(Exception):
    """The command is answered -ERR with this text."""


class _Session(socketserver.BaseRequestHandler):
    """One connection: AUTHORIZATION, then TRANSACTION, then UPDATE (RFC 1939 section 3)."""

    server: _Server
    request: ssl.SSLSocket

    _BEFORE_SIGN_IN: ClassVar = frozenset({"CAPA", "AUTH", "USER", "PASS", "QUIT"})
    _AFTER_SIGN_IN: ClassVar = frozenset(
        {"CAPA", "STAT", "LIST", "UIDL", "RETR", "TOP", "DELE", "NOOP", "RSET", "QUIT"}
    )

    def setup(self) -> None:
        self.request.settimeout(_IDLE_SECONDS)
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        self.lines = self.request.makefile("rb")
        self.user = ""
        self.maildrop: Maildrop | None = None
        self.marked: set[int] = set()  # message-numbers whose DELE was accepted

    def handle(self) -> None:
        """Answer one command after the other until QUIT or the end of the connection."""
        self.say("+OK Blue Wren mail, at your service")
        while line := self.lines.readline(_MAX_LINE):
            verb, _, argument = line.decode("latin-1").strip().partition(" ")
            verb = verb.upper()
            allowed = self._BEFORE_SIGN_IN if self.maildrop is None else self._AFTER_SIGN_IN
            try:
                if verb not in allowed:
                    raise _Refused("not now")  # noqa: TRY301 - answered like every refusal
                getattr(self, f"on_{verb.lower()}")(argument.split())
            except _Refused as refusal:
                self.say(f"-ERR {refusal}")
            if verb == "QUIT":
                return

    def finish(self) -> None:
        if self.maildrop is not None:
            self.maildrop.lock.release()
        self.lines.close()
        self.request.close()

    def say(self, line: str) -> None:
        """Send a status line."""
        self.request.sendall(line.encode("latin-1") + b"\r\n")

    def say_lines(self, status: str, lines: Sequence[str]) -> None:
        """Send a multi-line answer in one piece."""
        self.say("\r\n".join((status, *lines, ".")))

    def on_capa(self, _words: list[str]) -> None:
        self.say_lines("+OK capabilities", _CAPABILITIES)

    def on_auth(self, words: list[str]) -> None:
        if not words or words[0].upper() != "PLAIN":
            raise _Refused("only PLAIN")
        if len(words) == 1:
            self.say("+ ")
            words.append(self.lines.readline(_MAX_LINE).decode("latin-1").strip())
        try:
            _, user, password = b64decode(words[1], validate=True).decode().split("\0")
        except (binascii.Error, ValueError):
            raise _Refused("not a PLAIN response") from None
        self.sign_in(user, password)

    def on_user(self, words: list[str]) -> None:
        self.user = " ".join(words)
        self.say("+OK and the password?")

    def on_pass(self, words: list[str]) -> None:
        self.sign_in(self.user, " ".join(words))

    def sign_in(self, user: str, password: str) -> None:
        maildrop = self.server.maildrops.get(user)
        right = hmac.compare_digest(password.encode(), self.server.password.encode())
        if maildrop is None or not right:
            raise _Refused("[AUTH] wrong user name or password")
        if not maildrop.lock.acquire(blocking=False):
            raise _Refused("[IN-USE] another session has this maildrop")
        self.maildrop = maildrop
        self.say(f"+OK {len(maildrop.messages)} messages")

    def on_stat(self, _words: list[str]) -> None:
        sizes = [len(message.octets) for _, message in self.kept()]
        self.say(f"+OK {len(sizes)} {sum(sizes)}")

    def on_list(self, words: list[str]) -> None:
        self.listing(words, lambda message: str(len(message.octets)))

    def on_uidl(self, words: list[str]) -> None:
        self.listing(words, lambda message: message.unique_id)

    def listing(self, words: list[str], show: Callable[[Waiting], str]) -> None:
        if words:
            number, message = self.chosen(words)
            self.say(f"+OK {number} {show(message)}")
        else:
            self.say_lines("+OK", [f"{number} {show(message)}" for number, message in self.kept()])

    def on_retr(self, words: list[str]) -> None:
        self.send_message(self.chosen(words)[1].octets)

    def on_top(self, words: list[str]) -> None:
        octets = self.chosen(words[:1])[1].octets
        if len(words) != 2 or not words[1].isdigit():  # noqa: PLR2004 - message-number and lines
            raise _Refused("TOP msg n")
        header, empty, body = octets.partition(b"\r\n\r\n")
        lines = body.splitlines(keepends=True)[: int(words[1])]
        self.send_message(header + empty + b"".join(lines))

    def on_dele(self, words: list[str]) -> None:
        number, _ = self.chosen(words)
        self.marked.add(number)
        self.say("+OK marked")

    def on_noop(self, _words: list[str]) -> None:
        self.say("+OK")

    def on_rset(self, _words: list[str]) -> None:
        self.marked.clear()
        self.say("+OK")

    def on_quit(self, _words: list[str]) -> None:
        if self.maildrop is not None:
            self.maildrop.messages = tuple(message for _, message in self.kept())
        self.say("+OK goodbye")

    def kept(self) -> Iterator[tuple[int, Waiting]]:
        """The messages that are not marked for deletion, with their numbers."""
        messages = self.maildrop.messages if self.maildrop else ()
        for number, message in enumerate(messages, 1):
            if number not in self.marked:
                yield number, message

    def chosen(self, words: list[str]) -> tuple[int, Waiting]:
        for number, message in self.kept():
            if words == [str(number)]:
                return number, message
        raise _Refused("no such message")

    def send_message(self, octets: bytes) -> None:
        """Send `octets` stuffed (RFC 1939 section 3), a slice at a time."""
        stuffed = octets.replace(b"\r\n.", b"\r\n..")
        first = b"." if octets.startswith(b".") else b""
        self.request.sendall(b"+OK\r\n" + first)
        view = memoryview(stuffed)
        for start in range(0, len(view), _SLICE):
            self.request.sendall(view[start : start + _SLICE])
        self.request.sendall(b".\r\n")
