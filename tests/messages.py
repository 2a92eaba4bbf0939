"""Messages for tests and bench: the same octets for the same seed, and what is inside them.

Every line ends with CR LF, as POP3 delivers it.
"""

from __future__ import annotations

import base64
import hashlib
import quopri
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

LINE = 57  # octets that a base64 line of 76 characters holds
BLOCK = LINE * 18_000  # about 1 MB

VOCABULARY = """
the of and to in is that for it as was with be by on not he his but at are this have from or had an
they which one you were her all she there would their we him been has when who will invoice shipment
payment schedule attached regards confirm deadline quantity delivery
"""
WORDS = VOCABULARY.split()


class Message(NamedTuple):
    """One message, and the SHA-256 of each leaf of its MIME tree, decoded, in order."""

    octets: bytes
    leaves: tuple[str, ...]


def small(seed: int) -> Message:
    """Plain text of 2 to 8 KB."""
    chance = random.Random(seed)
    body = _text(chance, chance.randint(2_000, 8_000))
    return Message(_header(seed) + b"\r\n" + body, (_sha256(body),))


def quoted_printable(seed: int) -> Message:
    """Latin-1 text as quoted-printable."""
    text = _latin(random.Random(seed))
    encoded = quopri.encodestring(text.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    header = _header(seed, "text/plain; charset=iso-8859-1", "quoted-printable")
    return Message(header + b"\r\n" + encoded, (_sha256(text),))


def eight_bit(seed: int) -> Message:
    """Latin-1 text as it is, with octets over 127 on the wire."""
    text = _latin(random.Random(seed))
    header = _header(seed, "text/plain; charset=iso-8859-1", "8bit")
    return Message(header + b"\r\n" + text, (_sha256(text),))


def nested(seed: int) -> Message:
    """An alternative and a forwarded message with an attachment, three levels deep."""
    chance = random.Random(seed)
    plain, html = _text(chance, 300), b"<p>" + _text(chance, 300) + b"</p>"
    inner = with_attachment(seed + 1, 3_000)
    alternative = _entity("multipart/alternative; boundary=alternative") + _multipart(
        b"alternative", _entity("text/plain") + plain, _entity("text/html") + html
    )
    forwarded = _entity("message/rfc822") + inner.octets
    body = _multipart(b"mixed", alternative, forwarded)
    header = _header(seed, "multipart/mixed; boundary=mixed")
    return Message(header + b"\r\n" + body, (_sha256(plain), _sha256(html), *inner.leaves))


def with_attachment(seed: int, octets: int) -> Message:
    """Text and one base64 attachment of so many decoded octets."""
    attachment = Attachment(seed, octets)
    return Message(b"".join(attachment.blocks()), attachment.leaves())


def write_with_attachment(file: Path, seed: int, octets: int) -> tuple[str, ...]:
    """Write the same message to a file, a block at a time; the hashes of its leaves."""
    attachment = Attachment(seed, octets)
    with file.open("wb") as opened:
        opened.writelines(attachment.blocks())
    return attachment.leaves()


class Attachment:
    """Text and one base64 attachment, made without ever holding it.

    One block of noise is repeated; the first line of each repetition tells it from the others.
    """

    def __init__(self, seed: int, octets: int) -> None:
        chance = random.Random(seed)
        self._seed = seed
        self._octets = octets
        self._text = _text(chance, 600)
        self._noise = chance.randbytes(min(BLOCK, octets))
        self._tail = _base64_lines(self._noise[LINE:])

    def blocks(self) -> Iterator[bytes]:
        """The message's octets."""
        yield _header(self._seed, "multipart/mixed; boundary=attachment") + b"\r\n"
        yield b"--attachment\r\n" + _entity("text/plain") + self._text + b"\r\n--attachment\r\n"
        yield _entity('application/octet-stream; name="noise.bin"', "base64", "noise.bin")
        for first, octets in self._repetitions():
            if octets == len(self._noise):
                yield _base64_lines(first)
                yield self._tail
            else:
                yield _base64_lines(first + self._noise[len(first) : octets])
        yield b"--attachment--\r\n"

    def leaves(self) -> tuple[str, ...]:
        """The SHA-256 of the text and of the decoded attachment."""
        decoded = hashlib.sha256()
        noise = memoryview(self._noise)
        for first, octets in self._repetitions():
            decoded.update(first)
            decoded.update(noise[len(first) : octets])
        return (_sha256(self._text), decoded.hexdigest())

    def _repetitions(self) -> Iterator[tuple[bytes, int]]:
        """The first line and the octets of each."""
        for start in range(0, self._octets, BLOCK):
            octets = min(BLOCK, self._octets - start)
            yield (start.to_bytes(8, "big") + self._noise[8:LINE])[:octets], octets


def malformed(seed: int) -> Mapping[str, Message]:
    """Damaged messages whose leaves can be had all the same, by what is wrong with them."""
    chance = random.Random(seed)
    text, blob = _text(chance, 400), chance.randbytes(1_000)
    entity = _entity("application/octet-stream", "base64", "blob.bin")
    lines = _base64_lines(blob)
    whole = _multipart(b"outer", _entity("text/plain") + text, entity + lines)
    header = _header(seed, "multipart/mixed; boundary=outer") + b"\r\n"
    leaves = (_sha256(text), _sha256(blob))
    return {
        "no closing boundary": Message(header + whole.removesuffix(b"--outer--\r\n"), leaves),
        "characters outside the base64 alphabet": Message(
            header + whole.replace(lines, lines.replace(b"\r\n", b"!\r\n* ")), leaves
        ),
        "no padding": Message(header + whole.replace(b"==\r\n", b"\r\n"), leaves),
        "a header line without a colon": Message(b"From nobody\r\n" + header + whole, leaves),
        "a multipart without a boundary": Message(
            _header(seed, "multipart/mixed") + b"\r\n" + whole, (_sha256(whole),)
        ),
        "an unknown transfer encoding": Message(
            _header(seed, "text/plain", "x-unheard-of") + b"\r\n" + text, (_sha256(text),)
        ),
    }


def _header(seed: int, content_type: str = "text/plain", encoding: str = "7bit") -> bytes:
    """A message's header without the empty line after it."""
    return (
        f"Received: from mx.example.net (mx.example.net [192.0.2.{seed % 250}])\r\n"
        f"\tby mail.example.com with ESMTPS id {seed:08x}; Tue, 3 Feb 2026 10:15:30 +0000\r\n"
        f"Message-ID: <{seed}.made@example.net>\r\n"
        "Date: Tue, 3 Feb 2026 10:15:30 +0000\r\n"
        "From: Ada Example <ada@example.net>\r\n"
        "To: Orders <orders@example.com>\r\n"
        f"Subject: Shipment {seed}\r\n"
        "MIME-Version: 1.0\r\n"
        f"Content-Type: {content_type}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n"
    ).encode()


def _entity(content_type: str, encoding: str = "", filename: str = "") -> bytes:
    """A body part's header with the empty line after it."""
    lines = [f"Content-Type: {content_type}"]
    if encoding:
        lines.append(f"Content-Transfer-Encoding: {encoding}")
    if filename:
        lines.append(f'Content-Disposition: attachment; filename="{filename}"')
    return "\r\n".join([*lines, "", ""]).encode()


def _multipart(boundary: bytes, *entities: bytes) -> bytes:
    """A multipart's body; the CR LF before a boundary belongs to the boundary."""
    delimited = b"".join(b"--" + boundary + b"\r\n" + entity + b"\r\n" for entity in entities)
    return delimited + b"--" + boundary + b"--\r\n"


def _text(chance: random.Random, octets: int) -> bytes:
    """Lines of words, at least so many octets; some begin with a dot, to be stuffed."""
    lines: list[str] = []
    length = 0
    while length < octets:
        line = " ".join(chance.choices(WORDS, k=chance.randint(1, 12)))
        lines.append(line if chance.random() < 0.95 else f".{line}")
        length += len(lines[-1]) + 2
    return "\r\n".join([*lines, ""]).encode()


def _latin(chance: random.Random) -> bytes:
    return _text(chance, 2_000).replace(b"e", b"\xe9").replace(b"u", b"\xfc")


def _base64_lines(octets: bytes) -> bytes:
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")


def _sha256(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()
