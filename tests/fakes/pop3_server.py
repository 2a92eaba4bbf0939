"""A scriptable POP3 server on a real loopback socket.

    with Pop3Server([Message("a", b"Subject: x\\r\\n\\r\\n")]) as server:
        ...connect to server.host, server.port as USERNAME with PASSWORD...
    assert server.deleted == ["a"]

It keeps RFC 1939 (a DELE counts only after QUIT) unless `faults` says otherwise. Assign
`server.faults` or `server.maildrop` at any time: new sessions see it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple, Self, TypeAlias

from tests.fakes.pop3_session import Session
from tests.servers.certificates import Certificates
from tests.servers.ports import HOST

USERNAME = "user@example.org"
PASSWORD = "secret phrase"

CAPABILITIES = ("TOP", "UIDL", "USER", "SASL PLAIN", "PIPELINING", "RESP-CODES")


Kind: TypeAlias = Literal["command", "answer", "deleted", "closed"]


class Message(NamedTuple):
    """One message in the maildrop."""

    unique_id: str
    octets: bytes


class Entry(NamedTuple):
    """What happened, in order."""

    session: int  # from 1
    kind: Kind
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
    autologout: float | None = None  # close after so many seconds without a command
    one_octet_at_a_time: bool = False
    trickle: str = ""  # answer this command (or `greeting`) with an octet every 10 ms
    unique_ids: Callable[[str, int], str] = lambda unique_id, _session: unique_id  # what UIDL says
    list_octets: Callable[[int], int] = lambda octets: octets  # what LIST says


class Pop3Server:
    """See the module. With `certificates`, `tls` is implicit or offered as STLS."""

    def __init__(
        self,
        maildrop: Iterable[Message | tuple[str, bytes]] = (),
        *,
        faults: Faults | None = None,
        certificates: Certificates | None = None,
        tls: Literal["implicit", "starttls", "none"] = "none",
        username: str = USERNAME,
    ) -> None:
        self.maildrop = [Message(*message) for message in maildrop]
        self.faults = faults or Faults()
        self.tls = tls
        self.username = username
        self.password = PASSWORD
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

    def note(self, session: int, kind: Kind, text: str) -> None:
        """Add to the journal."""
        self.journal.append(Entry(session, kind, text))

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            number = len(self._sessions) + 1
            # The session may put the socket into TLS; this duplicate can always end it.
            session = Session(self, connection, number)
            thread = threading.Thread(target=session.run, name=f"pop3-session-{number}")
            self._sessions.append((thread, connection.dup()))
            thread.start()
