"""Splice programs: how a message's octets are had back from its skeleton and its parts.

A step copies octets of the skeleton, which is read once from start to end; or it takes a range of
a part, as it is or encoded again as lines of base64. "Copy everything" is always a valid program.

Why the output is what came: skeleton and raw ranges are the octets themselves, and the splitter
calls a piece `Base64Lines` only after encoding its decoded octets again gave the characters that
came, with every line end in its place (see ingest.mime.transfer). So it is enough that what was
stored is what was passed on (its SHA-256) and that `ProgramBuilder.octets` is the message's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from struct import Struct

import pybase64

from ingest.errors import ProofFailed
from ingest.mime.events import COPY, Base64Lines, Rebuild
from ingest.mime.limits import DEFAULT
from ingest.model import Step

_BATCH = 256  # lines that are cut at once
_ENCODED = 48 * 1024  # octets of a part that are encoded at once, at most
_LINE_ENDS = {"crlf": b"\r\n", "lf": b"\n"}


class ProgramBuilder:
    """Writes the program while the message streams by, merging what adjoins.

    Args:
        steps: how many steps there may be; past that the rest is copied.
    """

    def __init__(self, steps: int = DEFAULT.splice_steps) -> None:
        self._limit = steps
        self._steps: list[Step] = []
        self._offsets: dict[int, int] = {}  # of each part, how much of it is known
        self.octets = 0  # that the program gives; must be the message's at the end

    @property
    def full(self) -> bool:
        """From here on everything is copied: the last step may only be a copy."""
        return len(self._steps) >= self._limit - 1

    @property
    def program(self) -> tuple[Step, ...]:
        """The program so far."""
        return tuple(self._steps)

    def copy(self, octets: int) -> None:
        """The next octets stand in the skeleton."""
        self.octets += octets
        if self._steps and (last := self._steps[-1])[0] == "copy":
            self._steps[-1] = ("copy", last[1] + octets)
        elif octets:
            self._steps.append(("copy", octets))

    def body(self, part: int, rebuild: Rebuild, raw: int, decoded: int) -> bool:
        """The next octets are a piece of the body of an extracted part.

        Args:
            part: index of the part whose object gets all decoded octets of this body.
            rebuild: how the splitter says the piece is had back.
            raw: octets of the piece as they came.
            decoded: octets it decodes to.

        Returns:
            Whether the raw octets must be written to the skeleton.
        """
        offset = self._offsets.get(part, 0)
        self._offsets[part] = offset + decoded
        if rebuild is not COPY and raw:
            step: Step = ("raw", part, offset, decoded)
            if isinstance(rebuild, Base64Lines):
                step = ("base64", part, offset, decoded, *rebuild)
            merged = self._merged(step)
            if merged or not self.full:
                if merged:
                    self._steps[-1] = merged
                else:
                    self._steps.append(step)
                self.octets += raw
                return False
        self.copy(raw)
        return raw > 0

    def _merged(self, step: Step) -> Step | None:
        """The last step with this one after it, where one step can say both."""
        match self._steps[-1:], step:
            case [("raw", part, start, octets)], ("raw", same, offset, more) if (
                part == same and start + octets == offset
            ):
                return ("raw", part, start, octets + more)
            case [("base64", part, start, octets, *lines)], (
                "base64",
                same,
                offset,
                more,
                length,
                line_end,
            ) if part == same and start + octets == offset and lines == [length, line_end]:
                return ("base64", part, start, octets + more, length, line_end)
        return None


def rebuild(
    program: Iterable[tuple[str | int, ...]],
    skeleton: Iterable[bytes],
    part: Callable[[int, int, int], Iterable[bytes]],
) -> Iterator[bytes]:
    """Give the original octets, in blocks, with flat memory.

    Args:
        program: of Step.
        skeleton: its octets in blocks, from start to end.
        part: the octets of a part, by its index, from an offset on, so many of them.

    Raises:
        ProofFailed: a step is none, or the skeleton or a part is shorter or longer than it says.
    """
    reader = _Reader(skeleton, "the skeleton")
    for step in program:
        match step:
            case ("copy", int(octets)):
                yield from reader.take(octets)
            case ("raw", int(index), int(offset), int(octets)):
                yield from _range(part, index, offset, octets)
            case ("base64", int(index), int(offset), int(octets), int(length), str(line_end)) if (
                length > 0
                and length % 4 == 0
                and line_end in _LINE_ENDS
                and octets % (length // 4 * 3) == 0
            ):
                blocks = _range(part, index, offset, octets)
                yield from _base64(blocks, length, _LINE_ENDS[line_end])
            case _:
                raise ProofFailed(
                    f"the splice program has a step of an unknown kind: {step[:1]}",
                    remedy="read the message with the version that stored it, or a newer one",
                )
    reader.end()


def _range(
    part: Callable[[int, int, int], Iterable[bytes]], index: int, offset: int, octets: int
) -> Iterator[bytes]:
    """A range of a part, of exactly that many octets."""
    reader = _Reader(part(index, offset, octets), f"part {index}")
    yield from reader.take(octets)
    reader.end()


class _Reader:
    """Takes exact numbers of octets from a stream of blocks."""

    def __init__(self, blocks: Iterable[bytes], name: str) -> None:
        self._blocks = iter(blocks)
        self._left = memoryview(b"")
        self._name = name

    def take(self, octets: int) -> Iterator[bytes]:
        """So many octets.

        Raises:
            ProofFailed: there are fewer.
        """
        while octets > 0:
            if not self._left:
                block = next(self._blocks, None)
                if block is None:
                    raise ProofFailed(f"{self._name} ends {octets} octets early")
                self._left = memoryview(block)
            taken, self._left = self._left[:octets], self._left[octets:]
            octets -= len(taken)
            yield bytes(taken)

    def end(self) -> None:
        """There must be nothing left.

        Raises:
            ProofFailed: there is.
        """
        if self._left or any(self._blocks):
            raise ProofFailed(f"{self._name} is longer than the splice program says")


def _base64(blocks: Iterator[bytes], length: int, line_end: bytes) -> Iterator[bytes]:
    """Encode octets as full lines of base64."""
    octets = length // 4 * 3
    most = max(_ENCODED // octets, 1) * octets
    left = b""
    for block in blocks:
        whole = b"".join((left, block))
        stop = len(whole) - len(whole) % octets
        for start in range(0, stop, most):
            yield _lines(
                pybase64.b64encode(whole[start : min(start + most, stop)]), length, line_end
            )
        left = whole[stop:]


def _lines(characters: bytes, length: int, line_end: bytes) -> bytes:
    """Cut characters into lines, each with its line end."""
    size = _BATCH * length
    stop = len(characters) - len(characters) % size
    lines: list[bytes] = []
    for start in range(0, stop, size):
        lines += _batch(length).unpack_from(characters, start)
    lines += [characters[i : i + length] for i in range(stop, len(characters), length)]
    lines.append(b"")
    return line_end.join(lines)


@lru_cache(maxsize=16)
def _batch(length: int) -> Struct:
    """Cuts a batch of lines at once."""
    return Struct(f"{length}s" * _BATCH)
