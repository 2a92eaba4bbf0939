"""One POP3 connection without I/O: commands in, octets in, events out.

The caller moves octets, in this order, for as long as it likes:

    connection = Connection()
    octets = sock.recv_into(connection.buffer())
    for event in connection.received(octets):
        ...
    sock.sendall(connection.send(commands.STAT))

Replies come in the order of their commands, so commands may be pipelined (RFC 2449 section 6.6).
How the octets were cut into reads makes no difference to the events but for the borders between
consecutive `BodyOctets` and `Lines`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from typing import TypeAlias

from ingest.errors import ConnectionFailed, LocalProtocolError, RemoteProtocolError
from ingest.pop3.commands import Answer, Command, sasl_response
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
from ingest.pop3.replies import read_status
from ingest.pop3.state import TRANSITIONS, State

BUFFER_OCTETS = 256 * 1024
MAX_STATUS_OCTETS = 4096  # RFC 2449 section 4 has 512; servers quote whole error pages
MAX_LISTING_LINE_OCTETS = 512
MAX_LISTING_LINES = 250_000
MAX_CAPABILITIES = 100  # about twenty are known; they come before we have signed in, or have TLS

# A line start is known by the two octets before it, so that many stay in the buffer.
_CONTEXT = 2
_TERMINATOR_OCTETS = 3  # . CR LF; the CR LF before it belongs to the message

# Events, and None where more octets are needed.
_Parser: TypeAlias = Generator[Event | None, None, None]


class Connection:
    """The state of one connection, its buffer, and the commands without an answer yet.

    Args:
        max_status_octets: longest status line, CR LF included.
        max_listing_line_octets: longest line of CAPA, LIST and UIDL.
        max_listing_lines: most lines of LIST and UIDL.
        max_capabilities: most lines of CAPA.
    """

    def __init__(
        self,
        *,
        max_status_octets: int = MAX_STATUS_OCTETS,
        max_listing_line_octets: int = MAX_LISTING_LINE_OCTETS,
        max_listing_lines: int = MAX_LISTING_LINES,
        max_capabilities: int = MAX_CAPABILITIES,
    ) -> None:
        self.state = State.GREETING
        self._max_status_octets = max_status_octets
        self._max_listing_line_octets = max_listing_line_octets
        self._max_listing_lines = max_listing_lines
        self._max_capabilities = max_capabilities
        self._awaited: deque[Command] = deque()
        self._receiving: Command | None = None  # the command whose lines are coming in
        self._challenged = False  # a continuation waits for our SASL response
        self._octets = bytearray(BUFFER_OCTETS)
        self._view = memoryview(self._octets)
        self._start = self._end = _CONTEXT  # what was received and is not yet read
        self._parser = self._replies()

    @property
    def awaited(self) -> int:
        """How many commands have had no status line yet."""
        return len(self._awaited)

    @property
    def receiving(self) -> bool:
        """Whether a message or a listing is coming in."""
        return self._receiving is not None

    def send(self, command: Command) -> bytes:
        """Enter a command among those that await an answer; returns the octets to send.

        Raises:
            LocalProtocolError: it is not allowed in this state, or behind a command that may
                change the state (RFC 2449 section 6.6).
        """
        allowed = TRANSITIONS[self.state]
        if command.keyword not in allowed:
            raise LocalProtocolError(f"{command} is not allowed in state {self.state.name}")
        if self._awaited and allowed[self._awaited[-1].keyword] is not self.state:
            raise LocalProtocolError(f"{command} can't follow {self._awaited[-1]} unanswered")
        self._awaited.append(command)
        return command.line

    def respond(self, response: bytes) -> bytes:
        """Answer a `Challenge`; returns the octets to send.

        Raises:
            LocalProtocolError: there is none, or the response is too long.
        """
        if not self._challenged:
            raise LocalProtocolError("a SASL response, but the server asked for none")
        line = sasl_response(response)
        self._challenged = False
        return line

    def secured(self) -> None:
        """The TLS handshake after STLS is done; what CAPA said before is void."""
        if self.state is not State.HANDSHAKE:
            raise LocalProtocolError("TLS without an STLS that was answered +OK")
        self.state = State.AUTHORIZATION

    def buffer(self) -> memoryview:
        """Where the next octets go. Only to be called when all events were taken."""
        kept = self._view[self._start - _CONTEXT : self._end].tobytes()
        self._view[: len(kept)] = kept
        self._start, self._end = _CONTEXT, len(kept)
        return self._view[self._end :]

    def received(self, octets: int) -> Iterator[Event]:
        """The events of so many octets that were written into `buffer()`.

        Raises:
            RemoteProtocolError: the server broke POP3; the connection is of no more use.
        """
        if self.state is State.CLOSED:
            raise LocalProtocolError("octets were received after the end of the session")
        self._end += octets
        try:
            for event in self._parser:
                if event is None:
                    return
                yield event
        except RemoteProtocolError:
            self.state = State.CLOSED
            raise

    def eof(self) -> None:
        """The server closed the connection.

        Raises:
            ConnectionFailed: before it had answered everything: what came of a message is
                truncated.
        """
        state, self.state = self.state, State.CLOSED
        if self._receiving is not None:
            raise ConnectionFailed(
                f"the server closed the connection in the middle of its answer to {self._receiving}"
            )
        if self._awaited:
            raise ConnectionFailed(
                f"the server closed the connection without an answer to {self._awaited[0]}"
            )
        if state not in {State.UPDATE, State.CLOSED}:
            raise ConnectionFailed("the server closed the connection")

    def _replies(self) -> _Parser:
        line = yield from self._status_line()
        try:
            status = read_status(line)
        except RemoteProtocolError:
            # Only here may it be quoted: whatever comes later may be an echo of a password.
            raise RemoteProtocolError(f"the greeting begins with {line[:16]!r}") from None
        if status.indicator == "+":
            raise RemoteProtocolError("the greeting is a continuation")
        self.state = State.AUTHORIZATION
        yield Greeting(status.indicator == "+OK", status.text, status.code)
        while True:
            line = yield from self._status_line()
            status = read_status(line)
            if not self._awaited or self._challenged:
                raise RemoteProtocolError("the server answered without being asked")
            if status.indicator == "+":
                if self._awaited[0].keyword != "AUTH":
                    raise RemoteProtocolError(f"{self._awaited[0]} is answered by a continuation")
                self._challenged = True
                yield Challenge(status.text)
            else:
                command = self._awaited.popleft()
                ok = status.indicator == "+OK"
                yield from self._reply(Reply(command, ok, status.text, status.code))

    def _reply(self, reply: Reply) -> _Parser:
        command = reply.command
        if not reply.ok:
            yield reply
            return
        self.state = TRANSITIONS[self.state][command.keyword]
        if self.state is State.HANDSHAKE and self._start != self._end:
            # It may have been put there by someone in between, to be read as if TLS had
            # protected it.
            raise RemoteProtocolError("plaintext follows the answer to STLS")
        if command.answer is Answer.STATUS:
            yield reply
            return
        self._receiving = command
        yield reply
        if command.answer is Answer.MESSAGE:
            yield from self._message()
        else:
            most = self._max_capabilities if command.keyword == "CAPA" else self._max_listing_lines
            yield from self._listing(most)

    def _message(self) -> _Parser:
        total = 0
        for octets in self._multi_line():
            if octets is None:
                yield None
            else:
                total += len(octets)
                yield BodyOctets(octets)
        self._receiving = None
        yield BodyEnd(total)

    def _listing(self, max_lines: int) -> _Parser:
        count = 0
        rest = b""
        for octets in self._multi_line():
            if octets is None:
                yield None
                continue
            *lines, rest = (rest + octets).split(b"\r\n")
            count += len(lines)
            if count > max_lines:
                raise RemoteProtocolError(f"{self._receiving} lists more than {max_lines} lines")
            if max(map(len, (rest, *lines))) > self._max_listing_line_octets:
                raise RemoteProtocolError(
                    f"a line of {self._receiving} is over {self._max_listing_line_octets} octets"
                )
            if lines:
                yield Lines(lines)
        self._receiving = None
        yield ListingEnd()

    def _status_line(self) -> Generator[None, None, bytes]:
        searched = 0
        while (end := self._octets.find(b"\n", self._start + searched, self._end)) < 0:
            searched = self._end - self._start
            if searched >= self._max_status_octets:
                break
            yield None
        if not 0 <= end < self._start + self._max_status_octets:
            raise RemoteProtocolError(f"a status line is over {self._max_status_octets} octets")
        line = self._octets[self._start : end + 1]
        if not line.endswith(b"\r\n"):
            raise RemoteProtocolError("a status line ends in LF without CR")
        self._start = end + 1
        return bytes(line[:-2])

    def _multi_line(self) -> Iterator[memoryview | None]:
        """The unstuffed octets of a multi-line answer, up to its terminator; None: more needed.

        One pass in large steps rather than by lines, and in one piece because it is the loop
        that every octet goes through. The two octets before `start` are always there: right
        after the status line they are its CR LF, so the first line needs no case of its own.
        """
        octets, view = self._octets, self._view
        while True:
            start, end = self._start, self._end
            if start == end:
                yield None
                continue
            # Without a dot there is neither terminator nor stuffing, and looking for one octet
            # is more than ten times as fast as looking for three.
            if octets.find(b".", start, end) < 0 or (
                (found := octets.find(b"\r\n.", start - _CONTEXT, end)) < 0
            ):
                self._start = end
                yield view[start:end]
                continue
            dot = found + 2
            behind = octets[dot + 1 : min(dot + _TERMINATOR_OCTETS, end)]
            if behind == b"\r\n":
                self._start = dot + _TERMINATOR_OCTETS
                if start < dot:
                    yield view[start:dot]
                return
            if b"\r\n".startswith(behind):  # it may become the terminator: hold it back
                self._start = dot
                if start < dot:
                    yield view[start:dot]
                yield None
                continue
            # A stuffed line, and where one is, there may be many: take the stuffing out of
            # everything that is certain to be of this message.
            self._start = self._certain_end(dot + 1, end)
            unstuffed = octets[start - _CONTEXT : self._start].replace(b"\r\n.", b"\r\n")
            yield memoryview(unstuffed)[_CONTEXT:]

    def _certain_end(self, start: int, end: int) -> int:
        """Up to where the octets are of this message: to the dot that is or may be its end."""
        terminator = self._octets.find(b"\r\n.\r\n", start, end)
        if terminator >= 0:
            return terminator + 2
        for held in (b".", b".\r"):
            if self._octets.endswith(b"\r\n" + held, start, end):
                return end - len(held)
        return end
