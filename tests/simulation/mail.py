"""Messages of a simulation: each with words that must never be seen in a log."""

from __future__ import annotations

import base64
import hashlib
import random
from functools import cache
from typing import NamedTuple

# In every message, address, password and text of a server; nowhere else.
PRIVATE = "Zwetschge"

BREAKS_PARSER = b"X-Breaks: "
KILLS_PARSER = b"X-Kills: "

POOL = 240  # different messages


class Message(NamedTuple):
    """One message, as it is delivered."""

    octets: bytes
    sha256: str

    @property
    def poison(self) -> bool:
        """Whether the parser breaks or dies of it."""
        return self.octets.startswith((BREAKS_PARSER, KILLS_PARSER))


def message_of(octets: bytes) -> Message:
    return Message(octets, hashlib.sha256(octets).hexdigest())


@cache
def message(number: int) -> Message:
    """One of the pool, always the same for the same number."""
    chance = random.Random(number)
    make = _KINDS[number % len(_KINDS)]
    return message_of(make(number, chance))


@cache
def poison(number: int, header: bytes) -> Message:
    """A message that the parser breaks or dies of."""
    return message_of(header + b"%d\r\n" % number + _plain(number, random.Random(number)))


def _header(number: int, content_type: str = "") -> bytes:
    lines = [
        f"Subject: {PRIVATE} {number}",
        f"Message-ID: <{PRIVATE}-{number}@example.org>",
        f"From: {PRIVATE} <{PRIVATE}@example.org>",
        "Date: Thu, 1 Jan 2026 10:00:00 +0000",
    ]
    if content_type:
        lines += ["MIME-Version: 1.0", f"Content-Type: {content_type}"]
    return "".join(f"{line}\r\n" for line in lines).encode()


def _text(chance: random.Random, lines: int) -> bytes:
    words = [PRIVATE, "..", ".", "lorem ipsum dolor", "-- ", "x" * 70, "--b"]
    return b"".join(f"{chance.choice(words)}\r\n".encode() for _ in range(lines))


def _plain(number: int, chance: random.Random) -> bytes:
    return _header(number) + b"\r\n" + _text(chance, chance.randint(0, 30))


def _long(number: int, chance: random.Random) -> bytes:
    """So long that it can be seen to be cut."""
    return _header(number) + b"\r\n" + _text(chance, chance.randint(350, 450))


def _attachment(number: int, chance: random.Random) -> bytes:
    part = base64.encodebytes(chance.randbytes(chance.randint(10, 2500)))
    end = b"\r\n" if chance.random() < 0.8 else b"\n"
    return (
        b"--b\r\nContent-Type: application/pdf; name=%b-%d.pdf\r\n" % (PRIVATE.encode(), number)
        + b"Content-Transfer-Encoding: base64\r\n\r\n"
        + part.replace(b"\n", end)
        + (b"" if end == b"\r\n" else b"\r\n")
    )


def _with_attachment(number: int, chance: random.Random) -> bytes:
    parts = [_attachment(number, chance) for _ in range(chance.randint(1, 3))]
    close = b"--b--\r\n" if chance.random() < 0.8 else b""
    body = b"--b\r\n\r\n" + _text(chance, 3) + b"".join(parts) + close
    return _header(number, "multipart/mixed; boundary=b") + b"\r\n" + body


def _forwarded(number: int, chance: random.Random) -> bytes:
    inner = _with_attachment(number, chance)
    body = b"--f\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"--f--\r\n"
    return _header(number, "multipart/mixed; boundary=f") + b"\r\n" + body


def _garbage(number: int, chance: random.Random) -> bytes:
    return b"%d" % number + PRIVATE.encode() + chance.randbytes(chance.randint(0, 800)) + b"\r\n"


def _header_alone(number: int, _: random.Random) -> bytes:
    return _header(number)


_KINDS = (
    *(_plain, _with_attachment, _long, _forwarded),
    *(_plain, _with_attachment, _long, _garbage, _header_alone),
)
