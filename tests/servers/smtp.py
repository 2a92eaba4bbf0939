"""A small SMTP server for tests, on a free loopback port: it keeps, delivers, refuses or stalls."""

from __future__ import annotations

import base64
import contextlib
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator

from tests.servers.certificates import Certificates
from tests.servers.ports import HOST

USERNAME = "probe@example.org"
PASSWORD = "p4ss wörd"


class SmtpServer(socketserver.ThreadingTCPServer):
    """Takes mail and hands it to `deliver`; the rest is how it misbehaves.

    Args:
        certificates: with which it speaks TLS.
        implicit: TLS from the start; otherwise STARTTLS is offered.
        deliver: gets the octets of each message, CR LF line ends.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        certificates: Certificates,
        *,
        implicit: bool = False,
        deliver: Callable[[bytes], object] = lambda _: None,
    ) -> None:
        super().__init__((HOST, 0), _Conversation)
        self.ca_file = certificates.ca_file
        self.implicit = implicit
        self.deliver = deliver
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(certificates.certificate, certificates.key)
        self.port: int = self.server_address[1]
        self.messages: list[bytes] = []
        self.commands: list[str] = []  # as they came
        self.encrypted: list[bool] = []  # for each command
        self.replies: dict[str, str] = {}  # by the first word of a command: instead of ours
        self.greeting = "220 test ESMTP"
        self.extensions = ["STARTTLS", "AUTH PLAIN LOGIN", "SIZE 1000000"]
        self.injected = ""  # said in the clear, right behind the answer to STARTTLS
        self.stall = threading.Event()  # set: says nothing any more
        self.endless = False  # a reply without an end

    def handle_error(self, *_: object) -> None:
        """Clients may leave in the middle."""


class _Conversation(socketserver.StreamRequestHandler):
    server: SmtpServer

    def handle(self) -> None:
        self._encrypted = False
        if self.server.implicit:
            self._secure()
        self._say(self.server.greeting)
        while line := self.rfile.readline(4096).decode().rstrip("\r\n"):
            self.server.commands.append(line)
            self.server.encrypted.append(self._encrypted)
            word = line.split()[0].upper()
            if word == "QUIT":
                return self._say("221 bye")
            if reply := self.server.replies.get(word):
                self._say(reply)
            else:
                self._answer(word, line)
        return None

    def finish(self) -> None:
        super().finish()
        self.connection.close()  # the server closes what it accepted, which TLS took over

    def _answer(self, word: str, line: str) -> None:
        match word:
            case "EHLO":
                offered = [
                    each
                    for each in self.server.extensions
                    if each != "STARTTLS" or not (self._encrypted or self.server.implicit)
                ]
                lines = ["test", *offered]
                self._say(
                    "\r\n".join([*(f"250-{each}" for each in lines[:-1]), f"250 {lines[-1]}"])
                )
            case "STARTTLS":
                self._say("220 go on" + self.server.injected)
                self._secure()
            case "AUTH":
                self._say("235 welcome" if self._authenticated(line) else "535 5.7.8 no: " + line)
            case "DATA":
                self._say("354 go on")
                self._take()
            case _:
                self._say("250 fine")

    def _authenticated(self, line: str) -> bool:
        _, mechanism, *initial = line.split()
        if mechanism == "PLAIN":
            return initial == [base64.b64encode(f"\0{USERNAME}\0{PASSWORD}".encode()).decode()]
        given = []
        for prompt in ("Username:", "Password:"):
            self._say("334 " + base64.b64encode(prompt.encode()).decode())
            given.append(base64.b64decode(self.rfile.readline(4096)).decode())
        return given == [USERNAME, PASSWORD]

    def _take(self) -> None:
        lines = []
        while (line := self.rfile.readline(4096)) != b".\r\n":
            if not line:
                return
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        message = b"".join(lines)
        self.server.messages.append(message)
        self.server.deliver(message)
        self._say("250 taken")

    def _secure(self) -> None:
        self.request = self.connection = self.server.context.wrap_socket(
            self.connection, server_side=True
        )
        self._encrypted = True
        self.setup()

    def _say(self, text: str) -> None:
        while self.server.stall.is_set():
            time.sleep(0.05)
        with contextlib.suppress(OSError):
            while self.server.endless:
                self.wfile.write(b"250-more and more\r\n" * 1000)
        self.wfile.write(text.encode() + b"\r\n")


@contextlib.contextmanager
def smtp_server(
    certificates: Certificates,
    *,
    implicit: bool = False,
    deliver: Callable[[bytes], object] = lambda _: None,
) -> Iterator[SmtpServer]:
    """A running server, stopped at the end of the block."""
    with SmtpServer(certificates, implicit=implicit, deliver=deliver) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.stall.clear()
            server.shutdown()
            thread.join()
