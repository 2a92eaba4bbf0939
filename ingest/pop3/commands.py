"""Command lines (RFC 1939, RFC 2449, RFC 2595, RFC 5034).

A `Command` is what `Connection.send` takes: its line, and what kind of answer it will get.
"""

from __future__ import annotations

import base64
import re
from enum import Enum

import msgspec

from ingest.errors import LocalProtocolError

MAX_COMMAND_OCTETS = 255  # RFC 2449 section 4, with CR LF
MAX_RESPONSE_OCTETS = 12_288  # a SASL response, which may carry a long token

_FORBIDDEN = re.compile(rb"[\r\n\0]")


class Answer(Enum):
    """What follows a +OK."""

    STATUS = "nothing: the status line is all"
    LISTING = "short lines"
    MESSAGE = "the octets of a message, or of its beginning"


class Command(msgspec.Struct, frozen=True):
    """One command line. Its repr leaves the arguments out: they may be secret."""

    keyword: str
    line: bytes  # with CR LF
    answer: Answer = Answer.STATUS
    number: int = 0  # the message-number it is about; 0: about none

    def __repr__(self) -> str:
        return f"Command({self})"

    def __str__(self) -> str:
        """The command as an error message may name it."""
        return f"{self.keyword} {self.number}" if self.number else self.keyword


CAPA = Command("CAPA", b"CAPA\r\n", Answer.LISTING)
STLS = Command("STLS", b"STLS\r\n")
STAT = Command("STAT", b"STAT\r\n")
LIST = Command("LIST", b"LIST\r\n", Answer.LISTING)
UIDL = Command("UIDL", b"UIDL\r\n", Answer.LISTING)
NOOP = Command("NOOP", b"NOOP\r\n")  # RFC 1939 section 5
QUIT = Command("QUIT", b"QUIT\r\n")


def _with_argument(keyword: str, argument: str) -> Command:
    octets = argument.encode()
    if _FORBIDDEN.search(octets):
        raise LocalProtocolError(
            f"the argument of {keyword} contains CR, LF or NUL",
            remedy="look for a line end at the end of the user name or the password",
        )
    line = b"%b %b\r\n" % (keyword.encode(), octets)
    if len(line) > MAX_COMMAND_OCTETS:
        raise LocalProtocolError(
            f"the argument of {keyword} is too long: a command has {MAX_COMMAND_OCTETS} octets",
            remedy="shorten the user name or the password",
        )
    return Command(keyword, line)


def user(name: str) -> Command:
    """USER (RFC 1939 section 7).

    Raises:
        LocalProtocolError: CR, LF or NUL in the name, or it is too long; so do all of these.
    """
    return _with_argument("USER", name)


def password(secret: str) -> Command:
    """PASS (RFC 1939 section 7)."""
    return _with_argument("PASS", secret)


def auth(mechanism: str, response: bytes) -> Command:
    """AUTH with its initial response, or without where the line would be too long.

    Without, the server asks for the response with a continuation (RFC 5034 section 4).
    """
    try:
        return _with_argument("AUTH", f"{mechanism} {base64.b64encode(response).decode()}")
    except LocalProtocolError:
        return _with_argument("AUTH", mechanism)


def sasl_response(response: bytes) -> bytes:
    """The line that answers a continuation (RFC 5034 section 4)."""
    line = base64.b64encode(response) + b"\r\n"
    if len(line) > MAX_RESPONSE_OCTETS:
        raise LocalProtocolError(
            f"the SASL response is too long: {MAX_RESPONSE_OCTETS} octets are the limit"
        )
    return line


def sasl_plain(name: str, secret: str) -> bytes:
    """The message of the PLAIN mechanism (RFC 4616 section 2)."""
    if "\0" in name or "\0" in secret:
        raise LocalProtocolError("the user name or the password contains NUL")
    return f"\0{name}\0{secret}".encode()


def retr(number: int) -> Command:
    """RETR (RFC 1939 section 5)."""
    return Command("RETR", b"RETR %d\r\n" % number, Answer.MESSAGE, number)


def top(number: int) -> Command:
    """TOP n 0: the header block and the empty line (RFC 1939 section 7)."""
    return Command("TOP", b"TOP %d 0\r\n" % number, Answer.MESSAGE, number)


def dele(number: int) -> Command:
    """DELE (RFC 1939 section 5)."""
    return Command("DELE", b"DELE %d\r\n" % number, Answer.STATUS, number)
