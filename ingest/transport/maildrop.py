"""A signed-in session as the intake sees it: list, retrieve, delete, quit."""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from ingest.errors import CommandRefused
from ingest.failpoints import reach
from ingest.intake.ports import Farewell
from ingest.model import Listed
from ingest.pop3 import commands
from ingest.pop3.commands import Command
from ingest.pop3.events import BodyEnd, BodyOctets, Reply
from ingest.pop3.headers import HeaderBlock
from ingest.pop3.replies import (
    read_drop_listing,
    read_scan_listing,
    read_unique_id_listing,
)
from ingest.transport.dialogue import Dialogue

# Commands without an answer. They are a few KB together, so they always fit into the socket
# buffers: sending them never waits for a server that itself waits for us to read its answers.
WINDOW_COMMANDS = 256
# Octets that were asked for beyond the message that is coming in.
WINDOW_OCTETS = 4 * 1024 * 1024
# Silence after which a server is told that we are still there. RFC 1939 section 3 gives us ten
# minutes before it may log us out; some servers give one.
KEEP_ALIVE_SECONDS = 30.0


class Pop3Retrieval:
    """The answer to one RETR; see `ingest.intake.ports.Retrieval`."""

    __slots__ = ("_complete", "_dialogue", "number", "refusal")

    def __init__(self, dialogue: Dialogue, reply: Reply) -> None:
        self.number: Final = reply.command.number
        self.refusal: Final = None if reply.ok else dialogue.quoted(reply.text)
        self._dialogue = dialogue
        self._complete = not reply.ok

    def __iter__(self) -> Iterator[memoryview]:
        """The octets that were not yet taken."""
        while not self._complete:
            event = self._dialogue.next()
            if isinstance(event, BodyOctets):
                yield event.octets
            else:
                self._complete = isinstance(event, BodyEnd)

    def skip(self) -> None:
        """Read the rest and forget it."""
        for _ in self:
            pass


class Pop3Maildrop:
    """One session in the TRANSACTION state; see `ingest.intake.ports.Maildrop`.

    Args:
        dialogue: signed in, with all its answers read.
        capabilities: what CAPA announced; empty: the server does not know CAPA.
    """

    def __init__(self, dialogue: Dialogue, capabilities: Mapping[str, tuple[str, ...]]) -> None:
        self.capabilities: Final = capabilities
        self._dialogue = dialogue
        self._pipelining = "PIPELINING" in capabilities
        self._announced: dict[int, int] = {}  # octets by LIST
        self._asked: deque[int] = deque()  # the announced octets of each RETR without a status
        self._ahead = 0  # their sum
        self._deletes: deque[int] = deque()  # queued
        self._deleted: set[int] = set()
        self._refused: dict[int, str] = {}

    @property
    def login_delay(self) -> int:
        """Seconds that the server wants between two sessions (RFC 2449 section 6.5); 0: any."""
        seconds = self.capabilities.get("LOGIN-DELAY", ())[:1]
        return next((int(text) for text in seconds if re.fullmatch("[0-9]{1,9}", text)), 0)

    def listing(self) -> Sequence[Listed]:
        """STAT, LIST and UIDL.

        A message that only one of LIST and UIDL has is listed all the same, with 0 octets or
        without unique-id. A unique-id of several messages, or one of several that a message has,
        is none.

        Raises:
            CommandRefused: -ERR to STAT, or to LIST though STAT counts messages.
        """
        self._finish_answers()
        if self._pipelining:
            self._dialogue.send(commands.STAT, commands.LIST, commands.UIDL)
        count = self._count()
        self._announced = self._sizes(count)
        names = self._unique_ids()
        reach("listed")
        uses = Counter(names.values())
        return [
            Listed(
                number,
                self._announced.get(number, 0),
                name if (name := names.get(number)) and uses[name] == 1 else None,
            )
            for number in sorted(self._announced.keys() | names.keys())
        ]

    def header_blocks(self, numbers: Iterable[int]) -> Iterator[tuple[int, bytes | None]]:
        """TOP n 0 of each, as `HeaderBlock` makes the start of the whole message."""
        if self.capabilities and "TOP" not in self.capabilities:
            yield from ((number, None) for number in numbers)
            return
        for reply in self._answers(map(commands.top, numbers)):
            block = HeaderBlock()
            while reply.ok and isinstance(event := self._dialogue.next(), BodyOctets):
                block.feed(event.octets)
            yield reply.command.number, block.octets() if reply.ok else None

    def retrieve(self, numbers: Iterable[int]) -> Iterator[Pop3Retrieval]:
        """RETR each, at most `WINDOW_COMMANDS` and about `WINDOW_OCTETS` ahead."""
        for reply in self._answers(map(commands.retr, numbers)):
            retrieval = Pop3Retrieval(self._dialogue, reply)
            yield retrieval
            retrieval.skip()

    def delete(self, number: int) -> None:
        """Queue DELE."""
        self._deletes.append(number)

    def keep_alive(self) -> None:
        """NOOP if nothing was sent for `KEEP_ALIVE_SECONDS`, and its answer, whatever it says.

        Not while messages are on their way: the answer would come behind them, where nobody
        waits for it.
        """
        under_way = self._asked or self._dialogue.connection.receiving
        silent = time.monotonic() - self._dialogue.spoke_at
        if not under_way and silent >= KEEP_ALIVE_SECONDS:
            self._finish_answers()
            self._dialogue.ask(commands.NOOP)

    def quit(self) -> Farewell:
        """All DELE, then QUIT; closes the connection whatever comes.

        Raises:
            CommandRefused: -ERR: the server may have deleted some, and nobody knows which.
            SessionError: no answer.
        """
        try:
            self._finish_answers()
            self._flush_deletes()
            reach("quit-sending")
            self._dialogue.send(commands.QUIT)
            reach("quit-sent")
            reply = self._dialogue.reply()
            reach("quit-answered")
        finally:
            self.drop()
        self._require(reply)
        return Farewell(frozenset(self._deleted), self._refused)

    def drop(self) -> None:
        """Close the connection: without QUIT the server deletes nothing."""
        self._dialogue.wire.close()

    # Listing

    def _count(self) -> int:
        reply = self._require(self._answer(commands.STAT))
        return self._dialogue.read(read_drop_listing, reply.text)[0]

    def _sizes(self, count: int) -> dict[int, int]:
        sizes: dict[int, int] = {}
        reply = self._answer(commands.LIST)
        if count:  # some refuse to list nothing
            self._require(reply)
        if reply.ok:
            for line in self._dialogue.lines():
                number, octets = self._dialogue.read(read_scan_listing, line)
                sizes.setdefault(number, octets)
        return sizes

    def _unique_ids(self) -> dict[int, str | None]:
        names: dict[int, str | None] = {}
        if self._answer(commands.UIDL).ok:
            for line in self._dialogue.lines():
                if found := read_unique_id_listing(line):
                    number, name = found
                    names[number] = None if number in names else name
        return names

    def _answer(self, command: Command) -> Reply:
        """The status of a command that was sent already if the server does pipelining."""
        return self._dialogue.reply() if self._pipelining else self._dialogue.ask(command)

    def _require(self, reply: Reply) -> Reply:
        if not reply.ok:
            said = self._dialogue.quoted(reply.text)
            raise CommandRefused(
                f"{self._dialogue.peer}: the server refuses {reply.command}: {said!r}",
                remedy="the next session tries again; if it stays so, ask the server's operator",
            )
        return reply

    # The window

    def _answers(self, wanted: Iterator[Command]) -> Iterator[Reply]:
        """Send each command; yield its status. What follows it is to be read before the next."""
        self._finish_answers()
        while True:
            if not self._asked:
                self._ask(wanted)
            if not self._asked:
                return
            while (reply := self._dialogue.reply()).command.keyword == "DELE":
                self._note(reply)
            self._ahead -= self._asked.popleft()
            if self._pipelining:
                self._ask(wanted)
            yield reply

    def _ask(self, wanted: Iterator[Command]) -> None:
        """Top up the window once half of it is used; queued DELEs go along."""
        if not self._pipelining:
            self._flush_deletes()
        if len(self._asked) > WINDOW_COMMANDS // 2 or self._ahead > WINDOW_OCTETS // 2:
            return
        connection = self._dialogue.connection
        unanswered = connection.awaited - len(self._asked)  # DELEs
        room = min(len(self._deletes), WINDOW_COMMANDS // 2 - unanswered)
        batch = [commands.dele(self._deletes.popleft()) for _ in range(room)]
        window = WINDOW_COMMANDS if self._pipelining else 1
        while len(self._asked) < window and self._ahead < WINDOW_OCTETS:
            command = next(wanted, None)
            if command is None:
                break
            octets = self._announced.get(command.number, 0) if command.keyword == "RETR" else 0
            self._asked.append(octets)
            self._ahead += octets
            batch.append(command)
        if batch:
            self._dialogue.send(*batch)

    def _flush_deletes(self) -> None:
        while self._deletes:
            room = min(len(self._deletes), WINDOW_COMMANDS if self._pipelining else 1)
            self._dialogue.send(*[commands.dele(self._deletes.popleft()) for _ in range(room)])
            reach("dele-sent")
            self._finish_answers()

    def _finish_answers(self) -> None:
        """Read what is still to come; a caller may have stopped in the middle of something."""
        connection = self._dialogue.connection
        while connection.awaited or connection.receiving:
            event = self._dialogue.next()
            if isinstance(event, Reply) and event.command.keyword == "DELE":
                self._note(event)
        self._asked.clear()
        self._ahead = 0

    def _note(self, reply: Reply) -> None:
        """The answer to a DELE."""
        reach("dele-answered")
        if reply.ok:
            self._deleted.add(reply.command.number)
        else:
            self._refused[reply.command.number] = self._dialogue.quoted(reply.text)
