"""Commands out and events in, over a `Wire`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from ingest.errors import ConnectionFailed, RemoteProtocolError
from ingest.pop3.commands import Command
from ingest.pop3.connection import Connection
from ingest.pop3.events import Event, Lines, ListingEnd, Reply
from ingest.transport.quoting import Quoting
from ingest.transport.sockets import Wire

_Said = TypeVar("_Said")
_Meaning = TypeVar("_Meaning")


class Dialogue:
    """One conversation with a server.

    Args:
        wire: connected.
        peer: names mailbox and server in errors.
        username: hidden where the server's words are quoted and it stands as a word.
        secrets: hidden wherever they stand, together with what goes on as base64 does.
    """

    def __init__(self, wire: Wire, peer: str, username: str, secrets: tuple[str, ...]) -> None:
        self.wire: Final = wire
        self.peer: Final = peer
        self.connection: Final = Connection()
        self.spoke_at = time.monotonic()  # when we last sent something
        self.quoted: Final = Quoting(username, secrets).quoted
        self._events = self._received()

    def send(self, *commands: Command) -> None:
        """Send commands, together; their answers come as events, in order."""
        self.wire.send(b"".join([self.connection.send(command) for command in commands]))
        self.spoke_at = time.monotonic()

    def next(self) -> Event:
        """The next event.

        Raises:
            SessionError: the connection broke, went idle or broke POP3, or we stop.
        """
        for event in self._events:
            return event
        raise ConnectionFailed(f"{self.peer}: the connection is closed")

    def reply(self) -> Reply:
        """The next status; what is left of an earlier answer is skipped."""
        while not isinstance(event := self.next(), Reply):
            pass
        return event

    def ask(self, command: Command) -> Reply:
        """Send one command and wait for its status."""
        self.send(command)
        return self.reply()

    def lines(self) -> Iterator[bytes]:
        """The lines behind a +OK, to the end of the listing."""
        while not isinstance(event := self.next(), ListingEnd):
            if isinstance(event, Lines):
                yield from event.lines

    def read(self, reader: Callable[[_Said], _Meaning], said: _Said) -> _Meaning:
        """What the server said, through a reader of `ingest.pop3.replies`.

        Raises:
            RemoteProtocolError: it can't be read.
        """
        try:
            return reader(said)
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"{self.peer}: {error}") from None

    def _received(self) -> Iterator[Event]:
        connection, wire = self.connection, self.wire
        while True:
            octets = wire.receive(connection.buffer(), rated=connection.receiving)
            try:
                if not octets:
                    connection.eof()
                    return
                for event in connection.received(octets):
                    wire.patience.progress()
                    yield event
            except (RemoteProtocolError, ConnectionFailed) as error:
                raise type(error)(f"{self.peer}: {error}") from None
