"""A scriptable POP3 server on a real loopback socket.

    with Pop3Server([Message("a", b"Subject: x\\r\\n\\r\\n")]) as server:
        ...connect to server.host, server.port as USERNAME with PASSWORD...
    assert server.deleted == ["a"]

It keeps RFC 1939 (a DELE counts only after QUIT) unless `faults` says otherwise. Assign
`server.faults` or `server.maildrop` at any time: new sessions see it.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple, Self

from tests.servers.certificates import Certificates
from tests.servers.ports import HOST

USERNAME = "user@example.org"
PASSWORD = "secret phrase"

CAPABILITIES = ("TOP", "UIDL", "USER", "SASL PLAIN", "PIPELINING", "RESP-CODES")


class Message(NamedTuple):
    """One message in the maildrop."""

    unique_id: str
    octets: bytes


class Entry(NamedTuple):
    """What happened, in order."""

    session: int  # from 1
    kind: Literal["command", "answer", "deleted", "closed"]
    text: str  # the command (secrets left out), the status line, the unique-id, or why


@dataclasses.dataclass(frozen=True)
class Faults:
    """What the server does wrong, or differently. A command is meant as `RETR` or as `RETR 2`."""

    greeting: str = "+OK ready"
    capabilities: tuple[str, ...] | None = CAPABILITIES  # None: CAPA is refused
    refuse: Mapping[str, str] = dataclasses.field(default_factory=dict)  # command to -ERR's text
    say: Mapping[str, bytes] = dataclasses.field(default_factory=dict)  # command to raw octets
    cut_before: str = ""  # close instead of obeying and answering this command
    cut_unanswered: str = ""  # obey this command, then close instead of answering
    cut_after: str = ""  # close after answering this command
    cut_at: int | None = None  # close after so many octets of a session were sent
    challenges: int = 0  # how often AUTH asks for a response, though it came along
    stall: str = ""  # neither obey nor answer this command
    stall_at: int | None = None  # send so many octets of a session, then no more
    one_octet_at_a_time: bool = False
    trickle: str = ""  # answer this command (or `greeting`) with an octet every 10 ms
    unique_ids: Callable[[str, int], str] = lambda unique_id, _session: unique_id  # what UIDL says
    list_octets: Callable[[int], int] = lambda octets: octets  # what LIST says


class _End(Exception):
    """The session ends here."""


class Pop3Server:
    """See the module. With `certificates`, `tls` is implicit or offered as STLS."""

    def __init__(
        self,
        maildrop: Iterable[Message | tuple[str, bytes]] = (),
        *,
        faults: Faults | None = None,
        certificates: Certificates | None = None,
        tls: Literal["implicit", "starttls", "none"] = "none",
    ) -> None:
        self.maildrop = [Message(*message) for message in maildrop]
        self.faults = faults or Faults()
        self.tls = tls
        self.journal: list[Entry] = []
        self.context: ssl.SSLContext | None = None
        if certificates:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificates.certificate, certificates.key)
        self.sent = 0  # octets that the latest session to send has sent
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self._listener = socket.create_server((HOST, 0))
        self.host, self.port = self._listener.getsockname()
        self._sessions: list[tuple[threading.Thread, socket.socket]] = []
        self._accepting = threading.Thread(target=self._accept, name="pop3-server")

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        for thread, connection in self._sessions:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()
            connection.close()

    @property
    def sessions(self) -> int:
        """How many connections there were."""
        return len(self._sessions)

    @property
    def deleted(self) -> list[str]:
        """The unique-ids that were deleted, in order."""
        return [entry.text for entry in list(self.journal) if entry.kind == "deleted"]

    def commands(self, session: int | None = None) -> list[str]:
        """The commands that came, of all sessions or of one."""
        return [
            entry.text
            for entry in list(self.journal)
            if entry.kind == "command" and session in {None, entry.session}
        ]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            number = len(self._sessions) + 1
            # The session may put the socket into TLS; this duplicate can always end it.
            session = _Session(self, connection, number)
            thread = threading.Thread(target=session.run, name=f"pop3-session-{number}")
            self._sessions.append((thread, connection.dup()))
            thread.start()


class _Session:
    def __init__(self, server: Pop3Server, connection: socket.socket, number: int) -> None:
        self.server = server
        self.faults = server.faults
        self.connection = connection
        self.number = number
        self.messages: list[Message] = []
        self.marked: set[int] = set()
        self.user = ""
        self.signed_in = False
        self.sent = 0
        self.trickling = self.faults.trickle == "greeting"
        self.received = b""

    def run(self) -> None:
        reason = "by the server"
        try:
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.server.tls == "implicit":
                self.start_tls()
            self.status(self.faults.greeting)
            while True:
                self.obey(self.command())
        except _End as end:
            reason = str(end) or reason
        except OSError as error:
            reason = f"broken: {error}"
        finally:
            # With octets unread, closing would reset the connection and destroy what was sent.
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_WR)
            self.connection.close()
            self.note("closed", reason)

    def note(self, kind: Literal["command", "answer", "deleted", "closed"], text: str) -> None:
        self.server.journal.append(Entry(self.number, kind, text))

    def start_tls(self) -> None:
        assert self.server.context
        self.connection = self.server.context.wrap_socket(self.connection, server_side=True)

    def command(self) -> str:
        while b"\n" not in self.received:
            octets = self.connection.recv(65536)
            if not octets:
                raise _End("by the client")
            self.received += octets
        line, _, self.received = self.received.partition(b"\n")
        if "PIPELINING" not in (self.faults.capabilities or ()):
            self.received = b""  # like servers that flush their input before they answer
        return line.rstrip(b"\r").decode(errors="replace")

    def send(self, octets: bytes) -> None:
        limits = [at for at in (self.faults.cut_at, self.faults.stall_at) if at is not None]
        left = min(limits, default=self.sent + len(octets)) - self.sent
        passed = octets[: max(left, 0)]
        if self.faults.one_octet_at_a_time or self.trickling:
            for octet in passed:
                self.connection.sendall(bytes([octet]))
                time.sleep(0.01 * self.trickling)
        else:
            self.connection.sendall(passed)
        self.sent += len(passed)
        self.server.sent = self.sent
        if len(passed) < len(octets) or (limits and left == len(octets)):
            if self.faults.stall_at is not None:
                self.stay_silent()
            raise _End(f"cut at {self.sent}")

    def stay_silent(self) -> None:
        while not self.server.stopping.wait(0.02):
            self.connection.settimeout(0.02)
            with contextlib.suppress(TimeoutError):
                if not self.connection.recv(65536):
                    break
        raise _End("stalled")

    def status(self, line: str) -> None:
        self.note("answer", line)
        self.send(line.encode() + b"\r\n")

    def multi_line(self, status: str, octets: bytes) -> None:
        self.note("answer", status)
        stuffed = (b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:]
        self.send(status.encode() + b"\r\n" + stuffed + b".\r\n")

    def obey(self, line: str) -> None:
        keyword, _, argument = line.partition(" ")
        keyword = keyword.upper()
        self.note("command", line if keyword not in {"PASS", "AUTH"} else keyword)

        def is_meant(command: str) -> bool:
            return command in {keyword, f"{keyword} {argument.partition(' ')[0]}"}

        faults = self.faults
        if is_meant(faults.cut_before):
            raise _End(f"before {line}")
        self.trickling = is_meant(faults.trickle)
        if is_meant(faults.stall):
            self.stay_silent()
        scripted = {
            **faults.say,
            **{of: f"-ERR {why}\r\n".encode() for of, why in faults.refuse.items()},
        }
        for octets in [scripted[command] for command in scripted if is_meant(command)]:
            self.send(octets)
            return
        allowed = self.transaction() if self.signed_in else self.authorization()
        if keyword not in allowed:
            self.status("-ERR unknown command")
            return
        if is_meant(faults.cut_unanswered):
            self.faults = dataclasses.replace(faults, cut_at=self.sent)
        allowed[keyword](argument)
        if is_meant(faults.cut_after):
            raise _End(f"after {line}")

    # AUTHORIZATION

    def authorization(self) -> dict[str, Callable[[str], None]]:
        return {
            "CAPA": self.capa,
            "STLS": self.stls,
            "USER": self.user_name,
            "PASS": self.password,
            "AUTH": self.auth,
            "QUIT": self.leave,
        }

    def capa(self, _: str) -> None:
        if self.faults.capabilities is None:
            self.status("-ERR unknown command")
            return
        offered = list(self.faults.capabilities)
        if self.server.tls == "starttls" and not isinstance(self.connection, ssl.SSLSocket):
            offered.append("STLS")
        self.multi_line("+OK", "".join(f"{name}\r\n" for name in offered).encode())

    def stls(self, _: str) -> None:
        if self.server.tls != "starttls":
            self.status("-ERR no TLS here")
            return
        self.status("+OK begin")
        self.start_tls()

    def user_name(self, argument: str) -> None:
        self.user = argument
        self.status("+OK")

    def password(self, argument: str) -> None:
        self.enter(self.user, argument)

    def auth(self, argument: str) -> None:
        mechanism, _, response = argument.partition(" ")
        if f"SASL {mechanism}" not in (self.faults.capabilities or ()):
            self.status("-ERR unknown mechanism")
            return
        for _ in range(max(self.faults.challenges, not response)):
            self.send(b"+ \r\n")
            response = self.command()
        _, name, secret = base64.b64decode(response).decode().split("\0")
        self.enter(name, secret)

    def enter(self, name: str, secret: str) -> None:
        if (name, secret) != (USERNAME, PASSWORD):
            self.status(f"-ERR [AUTH] wrong password for {name}")
            return
        with self.server.lock:
            self.messages = list(self.server.maildrop)
        self.signed_in = True
        self.status("+OK welcome")

    def leave(self, _: str) -> None:
        self.status("+OK bye")
        raise _End

    # TRANSACTION

    def transaction(self) -> dict[str, Callable[[str], None]]:
        return {
            "CAPA": self.capa,
            "STAT": self.stat,
            "LIST": self.list,
            "UIDL": self.uidl,
            "RETR": self.retr,
            "TOP": self.top,
            "DELE": self.dele,
            "RSET": self.rset,
            "NOOP": lambda _: self.status("+OK"),
            "QUIT": self.quit,
        }

    def present(self) -> dict[int, Message]:
        numbered = enumerate(self.messages, 1)
        return {number: message for number, message in numbered if number not in self.marked}

    def stat(self, _: str) -> None:
        sizes = [self.listed_octets(message) for message in self.present().values()]
        self.status(f"+OK {len(sizes)} {sum(sizes)}")

    def listed_octets(self, message: Message) -> int:
        return self.faults.list_octets(len(message.octets))

    def list(self, argument: str) -> None:
        self.lines(argument, lambda message: str(self.listed_octets(message)))

    def uidl(self, argument: str) -> None:
        self.lines(argument, lambda message: self.faults.unique_ids(message.unique_id, self.number))

    def lines(self, argument: str, said: Callable[[Message], str]) -> None:
        lines = {number: f"{number} {said(message)}" for number, message in self.present().items()}
        if not argument:
            self.multi_line("+OK", "".join(f"{line}\r\n" for line in lines.values()).encode())
        elif number := self.existing(argument):
            self.status(f"+OK {lines[number]}")

    def existing(self, argument: str) -> int:
        number = int(argument) if re.fullmatch("[0-9]{1,9}", argument) else 0
        if number in self.present():
            return number
        self.status("-ERR no such message")
        return 0

    def retr(self, argument: str) -> None:
        if number := self.existing(argument):
            self.message(self.messages[number - 1].octets)

    def top(self, argument: str) -> None:
        first, _, count = argument.partition(" ")
        if number := self.existing(first):
            head, empty, body = self.messages[number - 1].octets.partition(b"\r\n\r\n")
            lines = body.split(b"\r\n")[: int(count)]
            self.message(head + empty + b"".join(line + b"\r\n" for line in lines))

    def message(self, octets: bytes) -> None:
        if octets and not octets.endswith(b"\r\n"):
            octets += b"\r\n"
        self.multi_line(f"+OK {len(octets)} octets", octets)

    def dele(self, argument: str) -> None:
        if number := self.existing(argument):
            self.marked.add(number)
            self.status(f"+OK message {number} deleted")

    def rset(self, _: str) -> None:
        self.marked.clear()
        self.status("+OK")

    def quit(self, _: str) -> None:
        gone = [self.messages[number - 1] for number in sorted(self.marked)]
        with self.server.lock:
            self.server.maildrop = [
                message for message in self.server.maildrop if message not in gone
            ]
        for message in gone:
            self.note("deleted", message.unique_id)
        self.status("+OK bye")
        raise _End
