"""POP3 servers without a wire: maildrops, their sessions, and the sockets that lead to them."""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from tests.simulation.faults import Faults
from tests.simulation.mail import PRIVATE, Message, message_of
from tests.simulation.scheduler import Scheduler

PASSWORD = f"{PRIVATE}-pass"

_AUTOLOGOUT = 600.0  # seconds without a command (RFC 1939 section 3)
_SLICE = 20.0  # seconds until a read of a silent server times out
_SHORT = 4096  # octets that a message may lack before somebody notices
_CUTTABLE = 6000  # octets from which on a message can be cut so that it shows
_CUTS = 2  # of one message: one that always comes so is taken to be so


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


class Session:
    """One connection, from the server's side: takes command lines, makes answers."""

    def __init__(self, server: Server, number: int) -> None:
        self.out = bytearray(b"+OK ready\r\n")
        self.closed = False  # by the server: what is in `out` still comes
        self.silent = False
        self.heard_at = server.scheduler.now
        self._server = server
        self._number = number
        self._in = b""
        self._signed_in = False
        self._messages: list[Held] = []
        self._listed: list[int] = []
        self._marked: dict[int, Held] = {}
        self._retrieved: dict[int, Held] = {}
        self._retrieved_at = 0.0

    @property
    def lost(self) -> bool:
        """Whether the server ended it for being silent too long."""
        return self._signed_in and not self._server.is_in(self)

    def receive(self, octets: bytes) -> None:
        self.heard_at = self._server.scheduler.now
        *lines, self._in = (self._in + octets).split(b"\r\n")
        for line in lines:
            if not self.closed and not self.silent:
                self._obey(line.decode())

    def close(self) -> None:
        """No more octets either way."""
        self.closed = True
        self._server.leave(self)

    def _obey(self, line: str) -> None:
        keyword, _, argument = line.partition(" ")
        strikes = self._server.faults.strikes
        if strikes("cut before a command"):
            self._server.journal.broken += 1
            self.close()
        elif strikes("silent"):
            self._server.journal.broken += 1
            self.silent = True
        elif keyword in _AUTHORIZATION or self._signed_in:
            getattr(self, f"_{keyword.lower()}")(argument)
        else:
            self._say("-ERR not yet")

    def _say(self, line: str) -> None:
        self.out += f"{line}\r\n".encode()

    def _refuse(self, why: str = "no") -> None:
        self._say(f"-ERR {why} {PRIVATE}@example.org")

    def _list_lines(self, lines: list[str]) -> None:
        self.out += "".join(f"{line}\r\n" for line in ["+OK", *lines, "."]).encode()

    def _send(self, octets: bytes) -> None:
        stuffed = (b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:]
        answer = b"+OK\r\n" + stuffed + b".\r\n"
        if self._server.faults.strikes("cut in a body"):
            self._server.journal.broken += 1
            self.out += answer[: self._server.chance.randrange(len(answer))]
            self.close()
        else:
            self.out += answer

    # AUTHORIZATION

    def _capa(self, _: str) -> None:
        capabilities = self._server.habits.capabilities
        if capabilities is None:
            self._say("-ERR unknown command")
        else:
            self._list_lines(list(capabilities))

    def _user(self, _: str) -> None:
        self._say("+OK")

    def _pass(self, argument: str) -> None:
        self._enter(argument)

    def _auth(self, argument: str) -> None:
        self._enter(base64.b64decode(argument.split(" ")[1]).decode().split("\0")[2])

    def _enter(self, password: str) -> None:
        assert password == PASSWORD
        strikes = self._server.faults.strikes
        if strikes("busy"):
            self._refuse("[SYS/TEMP] come back later")
        elif strikes("sign-in refused"):
            self._refuse(f"[AUTH] wrong password {PASSWORD} for")
        elif not self._server.enter(self):
            self._refuse("[IN-USE] locked by")
        else:
            self._signed_in = True
            self._messages = list(self._server.messages)
            self._listed = list(map(self._server.listed_octets, self._messages))
            self._say("+OK welcome")

    # TRANSACTION

    def _noop(self, _: str) -> None:
        self._say("+OK")

    def _stat(self, _: str) -> None:
        self._say(f"+OK {len(self._listed)} {sum(self._listed)}")

    def _list(self, _: str) -> None:
        listed = enumerate(self._listed, 1)
        self._list_lines([f"{number} {octets}" for number, octets in listed])

    def _uidl(self, _: str) -> None:
        if not self._server.habits.knows_uidl:
            self._say("-ERR unknown command")
            return
        names = {number: self._unique_id(number) for number in range(1, len(self._messages) + 1)}
        self._list_lines([f"{number} {name}" for number, name in names.items() if name])

    def _unique_id(self, number: int) -> str | None:
        match self._server.habits.unique_ids:
            case "unique-ids reused":
                return str(number)
            case "unique-ids renumbered":
                return f"{self._number}-{number}"
        return self._messages[number - 1].unique_id

    def _top(self, argument: str) -> None:
        held = self._messages[int(argument.split(" ", maxsplit=1)[0]) - 1]
        if self._server.faults.strikes("TOP refused"):
            self._refuse()
            return
        octets = held.message.octets
        blank = re.search(rb"(?:\A|\n)\r?\n", octets)
        self._send(octets[: blank.end()] if blank else octets)

    def _retr(self, argument: str) -> None:
        held = self._messages[int(argument) - 1]
        if self._server.faults.strikes("RETR refused"):
            self._refuse()
            return
        message = self._cut_short(held)
        self._server.journal.served.add(message.sha256)
        missing = self._listed[int(argument) - 1] - len(message.octets)
        self._server.journal.shortened += missing > _SHORT
        self._retrieved[int(argument)] = held
        self._retrieved_at = self.heard_at
        self._send(message.octets)

    def _cut_short(self, held: Held) -> Message:
        """The message, or its beginning, ended as if it were all of it."""
        octets, server = held.message.octets, self._server
        if len(octets) < _CUTTABLE or held.cuts >= _CUTS or not server.habits.may_cut(self._number):
            return held.message
        if not server.faults.strikes("message cut short"):
            return held.message
        held.cuts += 1
        return message_of(octets[: server.chance.randrange(len(octets) // 5)] + b"\r\n")

    def _dele(self, argument: str) -> None:
        if self._server.faults.strikes("DELE refused"):
            self._refuse()
            return
        held = self._marked[int(argument)] = self._messages[int(argument) - 1]
        self._server.observer.deleted(self._server.mailbox, held.message, asked=True)
        self._say("+OK")

    def _quit(self, _: str) -> None:
        strikes = self._server.faults.strikes
        if self._marked:
            self._server.observer.confirming(self._server.mailbox, self._retrieved_at)
        if not self._signed_in:
            self._say("+OK")
        elif strikes("cut before QUIT was obeyed"):
            pass
        elif strikes("QUIT refused"):
            for held in list(self._marked.values())[1:]:
                self._server.remove(held)
            self._refuse("some messages not deleted")
        else:
            self._farewell(answered=not strikes("cut after QUIT was obeyed"))
        self.close()

    def _farewell(self, *, answered: bool) -> None:
        if not self._server.faults.strikes("delete ignored"):
            for held in self._marked.values():
                self._server.remove(held)
        if self._server.habits.hides:
            for held in self._retrieved.values():
                self._server.hide(held)
        if answered:
            names = map(self._unique_id, self._marked)
            self._server.journal.farewells.update(name for name in names if name)
            self._say("+OK")


_AUTHORIZATION = {"CAPA", "USER", "PASS", "AUTH", "QUIT"}


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
