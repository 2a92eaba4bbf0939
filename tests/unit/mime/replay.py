"""Run messages through the splitter, merge its events, and rebuild messages from them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from ingest.mime.events import (
    COPY,
    Base64Lines,
    Body,
    Event,
    Field,
    Found,
    HeaderBlock,
    PartBegin,
    PartEnd,
    PartHeader,
    Rebuild,
    Skeletal,
)
from ingest.mime.limits import DEFAULT, Limits
from ingest.mime.splice import ProgramBuilder, rebuild
from ingest.mime.splitter import Splitter

# Body pieces, merged: raw, decoded, rebuild.
Piece: TypeAlias = tuple[bytes, bytes, Rebuild]


def split(octets: bytes, chunks: Iterable[int] = (), limits: Limits = DEFAULT) -> Iterator[Event]:
    """Feed `octets` in chunks of these sizes, again and again (none: all at once)."""
    splitter = Splitter(limits)
    sizes = list(chunks) or [len(octets) or 1]
    start = turn = 0
    while start < len(octets):
        size = sizes[turn % len(sizes)]
        # A buffer that is overwritten after the feed, as the caller's is.
        buffer = bytearray(octets[start : start + size])
        events = splitter.feed(memoryview(buffer))
        buffer[:] = bytes(len(buffer))
        yield from events
        start, turn = start + size, turn + 1
    yield from splitter.close()


def as_lines(decoded: bytes | memoryview, kind: Base64Lines) -> bytes:
    """What a piece of this kind must have looked like."""
    encoded = base64.b64encode(decoded)
    end = {"crlf": b"\r\n", "lf": b"\n"}[kind.line_end]
    cut = range(0, len(encoded), kind.line_length)
    return b"".join(encoded[i : i + kind.line_length] + end for i in cut)


def raw(events: Iterable[Event]) -> bytes:
    """What came, put together again from the events."""
    pieces: list[bytes | memoryview] = []
    for event in events:
        if isinstance(event, Skeletal):
            pieces.append(event.octets)
        elif isinstance(event, Body):
            pieces.append(event.raw)
    return b"".join(pieces)


def merged(events: Iterable[Event]) -> list[object]:
    """The events with neighbours of one kind made one, so that they can be compared."""
    out: list[object] = []
    for event in events:
        last = out[-1] if out else None
        if isinstance(event, Skeletal):
            if isinstance(last, bytes):
                out[-1] = last + event.octets
            elif event.octets:
                out.append(bytes(event.octets))
        elif isinstance(event, Body):
            if isinstance(last, Body) and last.rebuild == event.rebuild:
                out[-1] = Body(
                    memoryview(bytes(last.raw) + event.raw),
                    bytes(last.decoded) + event.decoded,
                    event.rebuild,
                )
            else:
                out.append(Body(memoryview(bytes(event.raw)), bytes(event.decoded), event.rebuild))
        else:
            out.append(event)
    return out


class Leaf:
    """One leaf, gathered."""

    def __init__(self, header: PartHeader) -> None:
        self.header = header
        self.pieces: list[Piece] = []
        self.end: PartEnd | None = None

    @property
    def raw(self) -> bytes:
        return b"".join(piece[0] for piece in self.pieces)

    @property
    def decoded(self) -> bytes:
        return b"".join(piece[1] for piece in self.pieces)


class Message:
    """What a consumer learns of a message."""

    def __init__(self, octets: bytes, chunks: Iterable[int] = (), limits: Limits = DEFAULT) -> None:
        self.headers: dict[str, tuple[Field, ...]] = {}
        self.leaves: dict[str, Leaf] = {}
        self.defects: list[tuple[str, str]] = []
        leaf: Leaf | None = None
        for event in merged(split(octets, chunks, limits)):
            match event:
                case HeaderBlock(path, fields):
                    self.headers[path] = fields
                case PartBegin(header):
                    leaf = self.leaves[header.path] = Leaf(header)
                case Body(came, decoded, how) if leaf:
                    leaf.pieces.append((bytes(came), bytes(decoded), how))
                case PartEnd() if leaf:
                    leaf.end = event
                case Found(defect):
                    self.defects.append((defect.name, defect.part))

    @property
    def shape(self) -> list[tuple[str, str]]:
        """Paths and types of the leaves."""
        return [(path, leaf.header.content_type) for path, leaf in self.leaves.items()]


def copied(builder: ProgramBuilder) -> int:
    """Octets that the program takes from the skeleton."""
    return sum(step[1] for step in builder.program if step[0] == "copy")


def rebuilt(
    octets: bytes, chunks: Iterable[int] = (), limits: Limits = DEFAULT, steps: int = 4000
) -> tuple[bytes, ProgramBuilder, bytes, list[bytes]]:
    """Extract every leaf, and put the message together again from skeleton and parts."""
    builder = ProgramBuilder(steps)
    skeleton = bytearray()
    parts: list[bytearray] = []
    for event in split(octets, chunks, limits):
        match event:
            case Skeletal(view):
                builder.copy(len(view))
                skeleton += view
            case PartBegin():
                parts.append(bytearray())
            case Body(came, decoded, how):
                verbatim = builder.body(len(parts) - 1, how, len(came), len(decoded))
                assert not (how is COPY and came) or verbatim
                if verbatim:
                    skeleton += came
                parts[-1] += decoded
    stored = [bytes(part) for part in parts]

    def read(index: int, offset: int, wanted: int) -> Iterator[bytes]:
        for start in range(offset, offset + wanted, 1000):
            yield stored[index][start : min(start + 1000, offset + wanted)]

    blocks = (bytes(skeleton[i : i + 777]) for i in range(0, len(skeleton), 777))
    again = b"".join(rebuild(builder.program, blocks, read))
    return again, builder, bytes(skeleton), stored
