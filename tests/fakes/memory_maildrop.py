"""A POP3 server and its sessions in memory: the `Maildrop` port without a wire, and a journal."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from ingest.errors import ConnectionFailed
from ingest.intake.ports import Farewell
from ingest.model import Listed


@dataclass
class Stored:
    """A message on the server."""

    unique_id: str | None
    octets: bytes
    listed_octets: int = -1  # -1: as many as it has
    breaks: bool = False  # the connection ends where it is asked for

    def __post_init__(self) -> None:
        if self.listed_octets < 0:
            self.listed_octets = len(self.octets)


@dataclass
class MemoryServer:
    """One maildrop. `journal` lists what sessions did, with hashes instead of octets."""

    messages: list[Stored] = field(default_factory=list)
    journal: list[tuple[str, str]] = field(default_factory=list)
    step: Callable[[str], None] = lambda _: None  # before each command takes effect
    refuse_top: bool = False
    refuse_delete: bool = False
    ignore_deletes: bool = False  # QUIT answers +OK and deletes nothing
    refuse_retrieve: set[int] = field(default_factory=set)
    refuse_again: bool = False  # a second RETR of the same message in a session
    cut_body: dict[int, int] = field(default_factory=dict)  # number: the connection ends there
    lose_quit_answer: bool = False
    chunk: int = 64 * 1024
    window: int = 1  # how many RETR are under way at a time

    def put(self, octets: bytes, unique_id: str | None = "") -> Stored:
        """Deliver one message, by default with a unique-id of its own."""
        if unique_id == "":
            unique_id = f"u{len(self.journal)}-{len(self.messages)}"
        stored = Stored(unique_id, octets)
        self.messages.append(stored)
        return stored

    def open(self) -> MemoryMaildrop:
        self.step("connect")
        return MemoryMaildrop(self)

    def deleted(self) -> list[str]:
        """The hashes of the messages that left the maildrop."""
        return [sha256 for verb, sha256 in self.journal if verb == "deleted"]


class MemoryMaildrop:
    """See `ingest.intake.ports.Maildrop`."""

    login_delay = 0

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self._messages = list(server.messages)
        self._marked: dict[int, Stored] = {}
        self._refused: dict[int, str] = {}
        self._retrieved: set[int] = set()
        self.dropped = False

    def listing(self) -> Sequence[Listed]:
        self._server.step("listing")
        names = Counter(stored.unique_id for stored in self._messages)
        return [
            Listed(
                number,
                stored.listed_octets,
                stored.unique_id if names[stored.unique_id] == 1 else None,
            )
            for number, stored in enumerate(self._messages, 1)
        ]

    def header_blocks(self, numbers: Iterable[int]) -> Iterator[tuple[int, bytes | None]]:
        for number in numbers:
            self._server.step("top")
            block, end, _ = self._messages[number - 1].octets.partition(b"\r\n\r\n")
            yield number, None if self._server.refuse_top else block + end

    def retrieve(self, numbers: Iterable[int]) -> Iterator[MemoryRetrieval]:
        wanted = iter(numbers)
        while asked := list(islice(wanted, self._server.window)):
            yield from self._answers(asked)

    def _answers(self, numbers: Iterable[int]) -> Iterator[MemoryRetrieval]:
        for number in numbers:
            self._server.step("retrieve")
            if self._messages[number - 1].breaks:
                raise ConnectionFailed("the connection broke at RETR")
            retrieval = MemoryRetrieval(self._server, number, self._messages[number - 1].octets)
            if self._server.refuse_again and number in self._retrieved:
                retrieval.refusal = "once is enough"
            self._retrieved.add(number)
            yield retrieval

    def delete(self, number: int) -> None:
        self._server.step("delete")
        stored = self._messages[number - 1]
        if self._server.refuse_delete:
            self._refused[number] = "not yours"
            return
        self._server.journal.append(("dele", hashlib.sha256(stored.octets).hexdigest()))
        self._marked[number] = stored

    def keep_alive(self) -> None:
        self._server.step("noop")

    def quit(self) -> Farewell:
        self._server.step("quit")
        if not self._server.ignore_deletes:
            for stored in self._marked.values():
                if stored not in self._server.messages:
                    continue  # another session, which a real server would not have let in
                self._server.messages.remove(stored)
                sha256 = hashlib.sha256(stored.octets).hexdigest()
                self._server.journal.append(("deleted", sha256))
        if self._server.lose_quit_answer:
            raise ConnectionFailed("the connection broke before QUIT was answered")
        self._server.step("quit answered")
        return Farewell(frozenset(self._marked), self._refused)

    def drop(self) -> None:
        self.dropped = True
        self._server.journal.append(("dropped", ""))


class MemoryRetrieval:
    """See `ingest.intake.ports.Retrieval`."""

    def __init__(self, server: MemoryServer, number: int, octets: bytes) -> None:
        self.number = number
        self.refusal = "no such message" if number in server.refuse_retrieve else None
        self._server = server
        self._octets = octets
        self._position = 0

    def __iter__(self) -> Iterator[memoryview]:
        cut = self._server.cut_body.get(self.number, len(self._octets) + 1)
        while self._position < len(self._octets):
            self._server.step("octets")
            chunk = self._octets[self._position : self._position + self._server.chunk]
            if self._position + len(chunk) >= cut:
                raise ConnectionFailed("the connection broke in the middle of a message")
            self._position += len(chunk)
            yield memoryview(chunk)
