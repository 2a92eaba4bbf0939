"""Plays a transcript of a POP3 session against a `Connection`.

    S: a line that the server sends (CR LF is added)
    S| octets that it sends, as in a bytes literal, with no line end added
    C: a command that the client sends
    = an event that must come now, as `described`
    ! the error that must be raised now

Octets of the server are gathered until another kind of line comes, then fed in reads of `chunk`.
"""

import ast
import itertools
from collections.abc import Callable, Iterable, Iterator

from ingest.errors import RemoteProtocolError
from ingest.pop3 import commands
from ingest.pop3.connection import Connection
from ingest.pop3.events import (
    BodyEnd,
    BodyOctets,
    Challenge,
    Event,
    Greeting,
    Lines,
    ListingEnd,
    Reply,
)

CHUNKS = (1, 2, 3, 4, 5, 7, 16, 65536)

# What a session begins with whose sign-in is not its subject.
SIGNED_IN = r"""
    S: +OK ready
    = greeting +OK 'ready'
    C: USER u
    S: +OK
    = USER +OK ''
    C: PASS p
    S: +OK
    = PASS +OK ''
"""


def feed(connection: Connection, wire: bytes, chunk: int = 65536) -> Iterator[Event]:
    """Receive octets in reads of at most `chunk`."""
    while wire:
        buffer = connection.buffer()
        read, wire = wire[:chunk], wire[chunk:]
        buffer[: len(read)] = read
        yield from connection.received(len(read))


def merged(events: Iterable[Event]) -> list[str]:
    """The events in words, consecutive octets and lines as one, and the error at the end."""
    words: list[str] = []
    octets = b""
    lines: list[bytes] = []

    def gathered() -> list[str]:
        return [f"= octets {octets!r}"] * bool(octets) + [f"= lines {lines!r}"] * bool(lines)

    try:
        for event in events:
            match event:
                case BodyOctets(view):
                    assert len(view), "an event without octets"
                    octets += view
                case Lines(more):
                    lines += more
                case _:
                    words += [*gathered(), f"= {described(event)}"]
                    octets, lines = b"", []
    except RemoteProtocolError as error:
        return [*words, *gathered(), f"! {error}"]
    return words + gathered()


def described(event: Event) -> str:
    """One event in words."""
    match event:
        case Greeting(ok, text, code):
            return f"greeting {'+OK' if ok else '-ERR'} {f'[{code}] ' if code else ''}{text!r}"
        case Reply(command, ok, text, code):
            status = "+OK" if ok else "-ERR"
            return f"{command} {status} {f'[{code}] ' if code else ''}{text!r}"
        case Challenge(text):
            return f"challenge {text!r}"
        case BodyEnd(octets):
            return f"end of {octets} octets"
        case ListingEnd():
            return "end of listing"
    raise AssertionError(event)


def _command(line: str) -> commands.Command:
    keyword, _, argument = line.partition(" ")
    builders: dict[str, Callable[[], commands.Command]] = {
        "USER": lambda: commands.user(argument),
        "PASS": lambda: commands.password(argument),
        "AUTH": lambda: commands.auth(argument, b"\0u\0p"),
        "RETR": lambda: commands.retr(int(argument)),
        "TOP": lambda: commands.top(int(argument)),
        "DELE": lambda: commands.dele(int(argument)),
    }
    if keyword in builders:
        return builders[keyword]()
    command = getattr(commands, keyword)
    assert isinstance(command, commands.Command)
    return command


def play(transcript: str, chunk: int = 65536, connection: Connection | None = None) -> Connection:
    """Play it; returns the connection as it is at the end."""
    connection = connection or Connection()
    wire = b""
    lines = [stripped for line in transcript.splitlines() if (stripped := line.strip())]
    # A stretch is what both sides say, then what must come of it.
    for claims, group in itertools.groupby(lines, key=lambda line: line[0] in "=!"):
        if claims:
            assert merged(feed(connection, wire, chunk)) == list(group)
            wire = b""
        else:
            wire = b"".join([_said(connection, *line.partition(" ")[::2]) for line in group])
    assert merged(feed(connection, wire, chunk)) == []
    return connection


def _said(connection: Connection, who: str, text: str) -> bytes:
    match who:
        case "S:":
            return text.encode() + b"\r\n"
        case "S|":
            return bytes(ast.literal_eval(f"b'{text}'"))
        case "C:":
            connection.send(_command(text))
            return b""
    raise AssertionError(who)
