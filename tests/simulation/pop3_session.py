"""One session of a POP3 server, from its side: takes command lines, makes answers."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final

from tests.simulation.mail import PRIVATE, Message, message_of

if TYPE_CHECKING:
    from tests.simulation.pop3 import Held, Server

PASSWORD: Final = f"{PRIVATE}-pass"

_SHORT = 4096  # octets that a message may lack before somebody notices
_CUTTABLE = 6000  # octets from which on a message can be cut so that it shows
_CUTS = 2  # of one message: one that always comes so is taken to be so
_AUTHORIZATION = frozenset({"CAPA", "USER", "PASS", "AUTH", "QUIT"})


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
