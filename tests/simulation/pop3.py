"""POP3 servers without a wire: maildrops, their sessions, and the sockets that lead to them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from tests.simulation.faults import Faults
from tests.simulation.mail import Message
from tests.simulation.pop3_session import Session
from tests.simulation.scheduler import Scheduler

_AUTOLOGOUT = 600.0  # seconds without a command (RFC 1939 section 3)
_SLICE = 20.0  # seconds until a read of a silent server times out


class Habits(NamedTuple):
    """What a server is like."""

    capabilities: tuple[str, ...] | None  # None: it does not know CAPA
    knows_uidl: bool
    exclusive: bool  # one session at a time
    hides: bool  # what was retrieved in a session that ended by QUIT
    unique_ids: Literal["kept", "unique-ids reused", "unique-ids renumbered"]
    lies: Callable[[int], int] | None  # what LIST says
    may_cut: Callable[[int], bool]  # messages short, in the session of that number
    chunk: int  # octets of a read


class Observer(Protocol):
    """Told what happens to messages."""

    def deleted(self, mailbox: str, message: Message, *, asked: bool) -> None:
        """A message is about to be marked, to leave its maildrop, or (not asked) to be hidden."""

    def confirming(self, mailbox: str, retrieved_at: float) -> None:
        """A QUIT is about to delete; the session last retrieved something then."""


@dataclass(eq=False)
class Held:
    """A message on the server."""

    message: Message
    unique_id: str | None
    cuts: int = 0


@dataclass
class Journal:
    """What a server did."""

    served: set[str] = field(default_factory=set)  # SHA-256 of what RETR gave
    farewells: set[str] = field(default_factory=set)  # unique-ids that a QUIT +OK deleted
    shortened: int = 0  # RETR gave far fewer octets than LIST announced
    broken: int = 0  # sessions that the server, or the network, did not let end well


class Server:
    """One maildrop.

    Args:
        mailbox: its id.
        habits: what it is like.
        faults: what goes wrong.
        observer: told what happens to messages.
    """

    def __init__(
        self,
        mailbox: str,
        *,
        habits: Habits,
        faults: Faults,
        chance: random.Random,
        scheduler: Scheduler,
        observer: Observer,
    ) -> None:
        self.mailbox = mailbox
        self.habits = habits
        self.faults = faults
        self.chance = chance
        self.scheduler = scheduler
        self.messages: list[Held] = []
        self.journal = Journal()
        self.rule = ""  # the mailbox's delete rule
        self.lying = habits.lies is not None
        self.observer = observer
        self._sessions: list[Session] = []
        self._begun = 0

    def deliver(self, message: Message, unique_id: str | None) -> None:
        self.messages.append(Held(message, unique_id))

    def connect(self) -> Session:
        self._begun += 1
        return Session(self, self._begun)

    def enter(self, session: Session) -> bool:
        """Let a session in, unless another one has the maildrop."""
        now = self.scheduler.now
        self._sessions = [one for one in self._sessions if now < one.heard_at + _AUTOLOGOUT]
        if self.habits.exclusive and self._sessions:
            self.faults.struck["maildrop in use"] += 1
            return False
        self._sessions.append(session)
        return True

    def leave(self, session: Session) -> None:
        if session in self._sessions:
            self._sessions.remove(session)

    def is_in(self, session: Session) -> bool:
        return session in self._sessions

    def remove(self, held: Held) -> None:
        if held in self.messages:  # another session may have been quicker
            self.messages.remove(held)
            self.observer.deleted(self.mailbox, held.message, asked=True)

    def hide(self, held: Held) -> None:
        if held in self.messages:
            self.messages.remove(held)
            self.faults.struck["retrieved hidden"] += 1
            self.observer.deleted(self.mailbox, held.message, asked=False)

    def listed_octets(self, held: Held) -> int:
        octets = len(held.message.octets)
        return self.habits.lies(octets) if self.habits.lies and self.lying else octets


class Socket:
    """A client's end of a connection: as much of a socket as the transport uses."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._session = server.connect()
        self._is_open = True

    def settimeout(self, seconds: float) -> None:
        """Waits are the scheduler's."""

    def setsockopt(self, *_: int) -> None:
        """Nothing to set."""

    def send(self, octets: bytes | memoryview) -> int:
        said = bytes(octets)
        words = [line.partition(b" ")[0].decode() for line in said.split(b"\r\n")[:-1]]
        self._server.scheduler.step(f"{self._server.mailbox} > {' '.join(words)}")
        self._check()
        self._session.receive(said)
        return len(said)

    def recv_into(self, buffer: memoryview) -> int:
        self._server.scheduler.step(f"{self._server.mailbox} <")
        self._check()
        out = self._session.out
        if not out and not self._session.closed:
            self._server.scheduler.sleep(_SLICE)
            raise TimeoutError
        octets = min(len(out), len(buffer), self._server.habits.chunk)
        buffer[:octets] = out[:octets]
        del out[:octets]
        return octets

    def _check(self) -> None:
        if self._session.lost and not self._session.out:
            raise ConnectionResetError(104, "reset")

    def close(self) -> None:
        """Also what happens to it when its process dies."""
        if self._is_open:
            self._is_open = False
            if self._session.closed or not self._server.faults.strikes("half-open"):
                self._session.close()
