"""Content transfer encodings (RFC 2045 section 6), decoded in blocks.

A decoder takes the octets of one body, in any chunking, and gives pieces: what came, what it
decodes to, and how the one is had back from the other. The pieces, merged, are the same for every
chunking, because each decision is about one line (base64) or one token (quoted-printable).

Base64 is the hot path. A run of lines of one length is taken at once: the line ends are compared
with strided slices, the rest is joined and decoded strictly, and then **encoded again and compared
with what came**. That is the proof that the splice program's step gives the octets back: the
encoder used here is the one that rebuilds, it works quantum by quantum, and a line is a whole
number of quanta, so it does not matter how the decoded octets are cut later. It costs a fifteenth
of the splitting; to rebuild the message and hash it again would cost twice the splitting.
"""

from __future__ import annotations

import binascii
import re
from functools import lru_cache
from struct import Struct
from typing import Protocol

import pybase64

from ingest.mime.defects import DefectName
from ingest.mime.events import COPY, IDENTITY, Base64Lines, Body
from ingest.mime.limits import Limits

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NO_BASE64 = bytes(set(range(256)) - set(_ALPHABET) - set(b"="))
_ALLOWED = _ALPHABET + b"= \t\r\n"
_BATCH = 64  # lines; what fits into the second-level cache is joined fastest
_LONGEST_RUN = 1 << 16  # lines
_STRAY = re.compile(rb"=(?![0-9A-Fa-f]{2}|\r?\n)")
_UNFINISHED = re.compile(rb"=[0-9A-Fa-f\r]?\Z")


class Decoder(Protocol):
    """The decoder of one body. `defects` is complete after `close`."""

    defects: set[DefectName]

    def decode(self, block: bytes, start: int, end: int) -> list[Body]:
        """Take the octets of the body in block[start:end]; some may be held back."""

    def close(self) -> list[Body]:
        """The body has ended: give what was held back."""


def decoder(encoding: str, limits: Limits) -> Decoder:
    """The decoder of an encoding, by its lower-case name; what is unknown is left as it is."""
    if encoding == "base64":
        return Base64Decoder(limits)
    if encoding == "quoted-printable":
        return QuotedPrintableDecoder()
    return IdentityDecoder()


class IdentityDecoder:
    """7bit, 8bit, binary, and what we don't decode."""

    def __init__(self) -> None:
        self.defects: set[DefectName] = set()

    def decode(self, block: bytes, start: int, end: int) -> list[Body]:
        """See Decoder."""
        raw = memoryview(block)[start:end]
        return [Body(raw, raw, IDENTITY)]

    def close(self) -> list[Body]:
        """See Decoder."""
        return []


class QuotedPrintableDecoder:
    """RFC 2045 section 6.7. A "=" that begins no token stands for itself."""

    def __init__(self) -> None:
        self.defects: set[DefectName] = set()
        self._held = b""  # a token that is not whole yet

    def decode(self, block: bytes, start: int, end: int) -> list[Body]:
        """See Decoder."""
        octets = self._held + block[start:end]
        unfinished = _UNFINISHED.search(octets, max(0, len(octets) - 2))
        stop = unfinished.start() if unfinished else len(octets)
        self._held = octets[stop:]
        return [self._decoded(octets[:stop])] if stop else []

    def close(self) -> list[Body]:
        """See Decoder. A "=" at the very end was before the line end that the boundary took."""
        if self._held == b"=":
            return [Body(memoryview(b"="), b"", COPY)]
        return [self._decoded(self._held)] if self._held else []

    def _decoded(self, octets: bytes) -> Body:
        clean, strays = _STRAY.subn(b"=3D", octets)
        if strays:
            self.defects.add("quoted-printable-invalid")
        return Body(memoryview(octets), binascii.a2b_qp(clean), COPY)


class Base64Decoder:
    """RFC 2045 section 6.8: runs of full lines are proven to be rebuildable, the rest is copied."""

    def __init__(self, limits: Limits) -> None:
        self.defects: set[DefectName] = set()
        self._longest_line = limits.base64_line_octets
        self._breaks_left = limits.base64_breaks
        self._paddings_left = limits.base64_paddings
        self._held = b""  # a line that is not whole yet
        self._quantum = b""  # its first characters: less than four
        self._padded = False
        self._lines: Base64Lines | None = None  # what the lines look like at present
        self._stride = 0  # of such a line, with its line end
        self._run_limit = _LONGEST_RUN  # halved by failure, so that hostile input stays linear

    def decode(self, block: bytes, start: int, end: int) -> list[Body]:
        """See Decoder."""
        if self._held:
            block = b"".join((self._held, memoryview(block)[start:end]))
            start, end, self._held = 0, len(block), b""
        pieces: list[Body] = []
        while start < end:
            stop = self._piece(block, start, end, pieces)
            if stop == start:
                self._held = block[start:end]
                break
            start = stop
        return pieces

    def close(self) -> list[Body]:
        """See Decoder."""
        pieces = [self._copied(self._held)] if self._held else []
        if self._quantum:
            self.defects.add("base64-truncated")
            pieces.append(Body(memoryview(b""), _padded(self._quantum), COPY))
        return pieces

    def _piece(self, block: bytes, start: int, end: int, pieces: list[Body]) -> int:
        """Take one run, one irregular line, or (after too many) all; where it ends."""
        if not self._breaks_left:
            pieces.append(self._copied(block[start:end]))
            return end
        if stop := self._run(block, start, end, pieces):
            return stop
        line_feed = block.find(b"\n", start, min(end, start + self._longest_line))
        if line_feed < 0:
            if end - start < self._longest_line:
                return start
            self._break(self._breaks_left)
            return self._piece(block, start, end, pieces)
        self._break(1)
        crlf = block.endswith(b"\r", start, line_feed)
        length = line_feed - start - crlf
        if length and not length % 4:
            self._lines = Base64Lines(length, "crlf" if crlf else "lf")
            self._stride = line_feed + 1 - start
            if stop := self._run(block, start, end, pieces):
                return stop
        pieces.append(self._copied(block[start : line_feed + 1]))
        return line_feed + 1

    def _break(self, count: int) -> None:
        self._breaks_left -= count
        if not self._breaks_left:
            self.defects.add("base64-irregular")

    def _run(self, block: bytes, start: int, end: int, pieces: list[Body]) -> int:
        """Take as many lines of the present kind as can be proven; where they end, or 0."""
        if self._lines is None or self._quantum:
            return 0
        lines = min((end - start) // self._stride, self._run_limit)
        while lines:
            decoded = self._proven(block, start, lines, self._lines)
            if decoded is not None:
                stop = start + lines * self._stride
                pieces.append(Body(memoryview(block)[start:stop], decoded, self._lines))
                if self._padded:
                    self.defects.add("base64-after-padding")
                self._run_limit = min(2 * max(self._run_limit, lines), _LONGEST_RUN)
                return stop
            self._run_limit = max(1, lines // 2)
            lines //= 2
        return 0

    def _proven(self, block: bytes, start: int, lines: int, kind: Base64Lines) -> bytes | None:
        """What the lines decode to, if encoding it gives exactly these lines; else None."""
        length, stride = kind.line_length, self._stride
        stop = start + lines * stride
        if block[start + stride - 1 : stop : stride] != b"\n" * lines:
            return None
        if kind.line_end == "crlf" and block[start + length : stop : stride] != b"\r" * lines:
            return None
        characters = _joined(block, start, lines, length, stride)
        try:
            decoded = pybase64.b64decode(characters, validate=True)
        except binascii.Error:
            return None
        # Padding inside would end the data, so a padded line is left to the slow path.
        if len(decoded) != lines * kind.octets or pybase64.b64encode(decoded) != characters:
            return None
        return decoded

    def _copied(self, octets: bytes) -> Body:
        """Decode leniently: what is not of the alphabet is skipped, padding completes a quantum."""
        if octets.translate(None, _ALLOWED):
            self.defects.add("base64-junk")
        characters = self._quantum + octets.translate(None, _NO_BASE64)
        *ended, rest = characters.split(b"=", self._paddings_left)
        self._paddings_left -= len(ended)
        rest = rest.replace(b"=", b"")
        if any((*ended, rest)[0 if self._padded else 1 :]):
            self.defects.add("base64-after-padding")
        decoded = [_padded(each) for each in ended]
        if any(len(each) % 4 == 1 for each in ended):
            self.defects.add("base64-truncated")
        whole = len(rest) & ~3
        decoded.append(pybase64.b64decode(rest[:whole], validate=True))
        self._quantum = rest[whole:]
        self._padded = self._padded or bool(ended)
        return Body(memoryview(octets), b"".join(decoded), COPY)


def _padded(characters: bytes) -> bytes:
    """What characters of the alphabet decode to; a last lone one holds no octet."""
    lone = len(characters) % 4 == 1
    padding = b"=" * (-len(characters) % 4)
    return pybase64.b64decode(characters[:-1] if lone else characters + padding, validate=True)


def _joined(block: bytes, start: int, lines: int, length: int, stride: int) -> bytes:
    """The characters of the lines without their line ends."""
    joined = []
    if whole := lines // _BATCH:
        unpack = _batch(length, stride - length).unpack_from
        size = _BATCH * stride
        joined = [b"".join(unpack(block, start + i * size)) for i in range(whole)]
        start += whole * size
    if rest := lines % _BATCH:
        joined.append(block[start : start + rest * stride].translate(None, b"\r\n"))
    return b"".join(joined)


@lru_cache(maxsize=16)
def _batch(length: int, line_end: int) -> Struct:
    """Cuts a batch of lines; five times as fast as to split it."""
    return Struct(f"{length}s{line_end}x" * _BATCH)
