"""Cut a message into its parts while it streams by.

    HEADER ── blank line ──┬─► BODY      of a leaf, up to a delimiter line
      ▲  ▲                 ├─► BETWEEN   a multipart's preamble, up to a delimiter line
      │  └── embedded ─────┘
      └───── delimiter line ── BODY, BETWEEN, HEADER
             close delimiter ─► BETWEEN  the epilogue

Lenient: damage is a defect, never an error. CR LF and LF both end lines, a bare CR is data. The
line end before a delimiter line belongs to it (RFC 2046 section 5.1.1). An outer delimiter ends
what is inside. Linear: every octet is scanned once; only a line that can still become a delimiter
or a blank line is held back, at most `Limits.delimiter_octets` and one line end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from ingest.mime.defects import DefectName, defect
from ingest.mime.entity import describe
from ingest.mime.events import (
    Body,
    Event,
    Field,
    Found,
    HeaderBlock,
    PartBegin,
    PartEnd,
    PartHeader,
    Skeletal,
)
from ingest.mime.header import parse
from ingest.mime.limits import DEFAULT, Limits
from ingest.mime.transfer import Decoder, IdentityDecoder, decoder
from ingest.model import Octets

_BLOCK = 256 * 1024  # octets that are looked at in one go, so that memory is flat for any feed
_IN_HEADER = re.compile(rb"\n(?=\r?\n|--)")
_DASHES = re.compile(rb"\n(?=--)")  # twice as fast as bytes.find
_Search: TypeAlias = Callable[[bytes, int], re.Match[bytes] | None]
_MANY_MISSES = 30
_LF, _CR = 0x0A, 0x0D


_HEADER, _BODY, _BETWEEN = range(3)  # no Enum: its members are slow to get


class _Stop(msgspec.Struct, frozen=True, gc=False):
    """Where the present content ends, and what ends it."""

    end: int  # the content's
    after: int  # where to go on; -1: nothing ends it here, and what follows `end` is held back
    level: int = -1  # whose delimiter it is; -1: a blank line
    closing: bool = False


class _Level:
    """A multipart that is open."""

    __slots__ = ("children", "default_type", "delimiter", "depth", "prefix")

    def __init__(self, prefix: str, boundary: bytes, depth: int, default_type: str) -> None:
        self.prefix = prefix  # of its children's paths
        self.delimiter = b"--" + boundary
        self.depth = depth  # of its children
        self.default_type = default_type  # of its children
        self.children = 0


class Splitter:
    """Feed it a message's octets; it gives events, the same (merged) for every chunking."""

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self._limits = limits
        self._events: list[Event] = []
        self._held = b""
        self._state = _HEADER
        self._line_start = True  # the next octet begins a line
        self._levels: list[_Level] = []
        self._delimiters: dict[bytes, tuple[int, bool]] = {}
        self._search: _Search = _DASHES.search
        self._misses = 0
        self._header = bytearray()
        self._path = ""  # of the entity
        self._is_root = True  # the entity is the message or an embedded one, not a part
        self._depth = 0
        self._default_type = "text/plain"
        self._entities = 1
        self._decoder: Decoder = IdentityDecoder()
        self._sizes = [0, 0]  # of the leaf so far, encoded and decoded

    def feed(self, octets: Octets) -> list[Event]:
        """Take the next octets; they are copied before this returns."""
        view = memoryview(octets)
        for start in range(0, len(view), _BLOCK):
            self._advance(b"".join((self._held, view[start : start + _BLOCK])), final=False)
        return self._taken()

    def close(self) -> list[Event]:
        """The message has ended."""
        self._advance(self._held, final=True)
        self._end_inside(-1)
        return self._taken()

    def _taken(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _advance(self, block: bytes, *, final: bool) -> None:
        """Go through a block from stop to stop; hold back what can't be judged yet."""
        position, size = 0, len(block)
        while position < size:
            stop = self._next_stop(block, position, final=final)
            if stop.end > position:
                self._line_start = False
                position = self._content(block, position, stop.end)
                if position < stop.end:
                    continue
            if stop.after < 0:
                break
            if stop.level < 0:
                if stop.after == stop.end:
                    self._found("header-unterminated", self._path)
                else:
                    self._skeletal(block, position, stop.after)
                self._line_start = True
                self._end_header()
            else:
                self._end_inside(stop.level)
                self._skeletal(block, position, stop.after)
                self._line_start = True
                self._delimiter(stop.level, closing=stop.closing)
            position = stop.after
        self._held = block[position:]

    def _skeletal(self, block: bytes, start: int, end: int) -> None:
        self._events.append(Skeletal(memoryview(block)[start:end]))

    def _found(self, name: DefectName, part: str, note: str = "") -> None:
        self._events.append(Found(defect(name, part, note)))

    # Scanning

    def _next_stop(self, block: bytes, position: int, *, final: bool) -> _Stop:
        """Find the next delimiter line or, in a header, blank line, from `position` on."""
        in_header = self._state == _HEADER
        if not in_header and not self._delimiters:
            return _Stop(len(block), -1)
        if self._line_start and (stop := self._judge(block, position, position, final=final)):
            return stop
        if in_header:
            search: _Search = _IN_HEADER.search
        elif block.find(b"-", position) < 0:
            return self._no_stop(block, position, final=final)
        else:
            search = self._search
        found = search(block, position)
        while found:
            if stop := self._judge(block, position, found.end(), final=final):
                return stop
            if not in_header:
                search = self._narrowed()
            found = search(block, found.end())
        return self._no_stop(block, position, final=final)

    def _no_stop(self, block: bytes, position: int, *, final: bool) -> _Stop:
        """All is content but what may be the line end before a stop, or a stop's beginning."""
        end = len(block)
        if final:
            return _Stop(end, -1)
        line_feed = block.rfind(b"\n", max(position, end - self._limits.delimiter_octets))
        if line_feed >= 0 and block[line_feed + 1 : line_feed + 3] in {b"", b"-", b"\r", b"--"}:
            end = _before_line_end(block, position, line_feed + 1)
        elif block[-1] == _CR:
            end -= 1
        return _Stop(end, -1)

    def _narrowed(self) -> _Search:
        """After many lines that only begin like a delimiter, search for whole delimiter lines.

        To compile that is too dear for the multiparts of everyday mail.
        """
        self._misses += 1
        if self._misses == _MANY_MISSES:
            names = b"|".join(re.escape(level.delimiter) for level in self._levels)
            line = rb"\n(?=(?:%s)(?:--)?[ \t\r]*+(?:\n|\Z))" % names
            self._search = re.compile(line).search
        return self._search

    def _judge(self, block: bytes, position: int, start: int, *, final: bool) -> _Stop | None:
        """Say whether the line that begins at `start` ends the content that is at `position`."""
        in_header = self._state == _HEADER
        first = block[start : start + 2]
        if in_header and (first[:1] == b"\n" or first == b"\r\n"):
            return _Stop(start, start + first.index(b"\n") + 1)
        before = _before_line_end(block, position, start)
        if first == b"-" and not final:
            return _Stop(before, -1)
        if first != b"--" or not (in_header or self._delimiters):
            return None
        line_end = block.find(b"\n", start + 2, start + self._limits.delimiter_octets)
        if line_end < 0:
            if len(block) - start >= self._limits.delimiter_octets:
                return None
            if not final:
                return _Stop(before, -1)
        return self._judge_line(block, before, start, line_end)

    def _judge_line(self, block: bytes, before: int, start: int, line_end: int) -> _Stop | None:
        """Say whether a whole line that begins with "--" ends the content before it."""
        in_header = self._state == _HEADER
        line = block[start : line_end if line_end >= 0 else len(block)]
        hit = self._delimiters.get(line.rstrip(b" \t\r"))
        if hit:
            after = line_end + 1 if line_end >= 0 else len(block)
            return _Stop(start if in_header else before, after, *hit)
        # No field has such a line: most likely a multipart's first delimiter, its own header
        # lacking the blank line.
        if in_header and b":" not in line:
            return _Stop(start, start)
        return None

    # Content

    def _content(self, block: bytes, start: int, end: int) -> int:
        """Pass on content of the present state, up to `end` or a header's limit; up to where."""
        if self._state == _BODY:
            self._bodies(self._decoder.decode(block, start, end))
            return end
        if self._state == _HEADER:
            room = self._limits.header_octets - len(self._header)
            if end - start > room:
                end = start + room
                self._header += memoryview(block)[start:end]
                self._skeletal(block, start, end)
                self._open_opaque("header-octets-limit")
                return end
            self._header += memoryview(block)[start:end]
        self._skeletal(block, start, end)
        return end

    def _bodies(self, pieces: list[Body]) -> None:
        for piece in pieces:
            self._sizes[0] += len(piece.raw)
            self._sizes[1] += len(piece.decoded)
        self._events += pieces

    # Structure

    def _end_header(self) -> None:
        """The header has ended: find out what the entity is, and begin it."""
        fields = self._fields()
        if fields is None:
            return
        entity = describe(fields, self._leaf_path(), self._default_type, self._limits)
        is_leaf = not (entity.boundary or entity.is_message)
        for name in entity.defects:
            self._found(name, entity.header.path if is_leaf else self._path)
        if is_leaf:
            self._open_leaf(entity.header)
        elif self._depth >= self._limits.depth:
            self._found("depth-limit", entity.header.path)
            self._open_leaf(entity.header)
        elif entity.is_message:
            self._open_entity(entity.header.path, self._depth + 1, "text/plain", is_root=True)
        else:
            digest = entity.header.content_type == "multipart/digest"
            default_type = "message/rfc822" if digest else "text/plain"
            level = _Level(self._path, entity.boundary, self._depth + 1, default_type)
            self._levels.append(level)
            self._index_delimiters()
            self._state = _BETWEEN

    def _fields(self) -> tuple[Field, ...] | None:
        """Parse the header; None where it went over a limit and the entity became opaque."""
        block = parse(bytes(self._header), self._limits.header_fields)
        self._header.clear()
        if self._is_root:
            self._events.append(HeaderBlock(self._path, block.fields))
        if block.invalid_lines:
            self._found("header-line-invalid", self._path, f"{block.invalid_lines} lines")
        if block.more:
            self._open_opaque("header-fields-limit")
            return None
        return block.fields

    def _leaf_path(self) -> str:
        """The section number that the entity has as a leaf: a message's only body is its part 1."""
        if not self._is_root:
            return self._path
        return f"{self._path}.1" if self._path else "1"

    def _open_entity(self, path: str, depth: int, default_type: str, *, is_root: bool) -> None:
        """A header is next. Past the limit of parts all the rest is one opaque part."""
        self._path, self._is_root = path, is_root
        self._depth, self._default_type = depth, default_type
        self._entities += 1
        self._state = _HEADER
        if self._entities > self._limits.parts:
            self._levels.clear()
            self._delimiters.clear()
            self._open_opaque("parts-limit")

    def _open_opaque(self, name: DefectName) -> None:
        """Take the rest of the entity for one opaque part."""
        if self._header:
            header, self._header = bytes(self._header), bytearray()
            if self._is_root:
                fields = parse(header, self._limits.header_fields).fields
                self._events.append(HeaderBlock(self._path, fields))
        self._found(name, self._leaf_path())
        self._open_leaf(PartHeader(self._leaf_path(), is_attachment=True))

    def _open_leaf(self, header: PartHeader) -> None:
        self._events.append(PartBegin(header))
        self._path, self._is_root = header.path, False
        self._decoder = decoder(header.encoding, self._limits)
        self._sizes = [0, 0]
        self._state = _BODY

    def _end_leaf(self) -> None:
        if self._state == _BODY:
            self._bodies(self._decoder.close())
            for name in sorted(self._decoder.defects):
                self._found(name, self._path)
            self._events.append(PartEnd(self._path, *self._sizes))
            self._state = _BETWEEN

    def _end_inside(self, index: int) -> None:
        """A delimiter line of an open multipart ends all that is inside of it."""
        while self._state == _HEADER:
            self._end_header()
        self._end_leaf()
        self._end_levels(index + 1)

    def _delimiter(self, index: int, *, closing: bool) -> None:
        """A delimiter line has ended: the next part begins, or the multipart is closed."""
        level = self._levels[index]
        if closing:
            self._end_levels(index, closed=True)
            return
        level.children += 1
        path = f"{level.prefix}.{level.children}" if level.prefix else str(level.children)
        self._open_entity(path, level.depth, level.default_type, is_root=False)

    def _end_levels(self, index: int, *, closed: bool = False) -> None:
        """Close the multiparts from `index` on; those without a close delimiter are damaged."""
        if len(self._levels) <= index:
            return
        for level in reversed(self._levels[index:]):
            if not closed:
                self._found("multipart-unterminated", level.prefix)
            if not level.children:
                self._found("multipart-without-parts", level.prefix)
        del self._levels[index:]
        self._index_delimiters()

    def _index_delimiters(self) -> None:
        """Map delimiter lines to their multiparts; of equal ones the inner one counts."""
        self._delimiters = {}
        self._search, self._misses = _DASHES.search, 0
        for index, level in enumerate(self._levels):
            self._delimiters[level.delimiter] = (index, False)
            self._delimiters[level.delimiter + b"--"] = (index, True)


def _before_line_end(block: bytes, position: int, start: int) -> int:
    """Where the line end before `start` begins, if it is content, that is after `position`."""
    if start > position and block[start - 1] == _LF:
        start -= 1
        if start > position and block[start - 1] == _CR:
            start -= 1
    return start
