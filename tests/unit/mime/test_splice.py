from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator

import pytest

from ingest.errors import ProofFailed
from ingest.mime.events import COPY, IDENTITY, Base64Lines
from ingest.mime.splice import ProgramBuilder, rebuild
from tests.unit.mime.replay import rebuilt

LINES = Base64Lines(76, "crlf")


def run(
    program: Iterable[tuple[str | int, ...]], skeleton: Iterable[bytes], *parts: bytes
) -> bytes:
    def read(index: int, offset: int, octets: int) -> Iterator[bytes]:
        yield parts[index][offset : offset + octets]

    return b"".join(rebuild(program, skeleton, read))


def test_steps_that_adjoin_are_merged() -> None:
    builder = ProgramBuilder()
    builder.copy(10)
    builder.copy(5)
    assert not builder.body(0, LINES, 78, 57)
    assert not builder.body(0, LINES, 156, 114)
    assert builder.body(0, COPY, 4, 3)
    assert not builder.body(1, IDENTITY, 7, 7)
    assert not builder.body(1, IDENTITY, 1, 1)
    builder.copy(2)
    assert builder.program == (
        ("copy", 15),
        ("base64", 0, 0, 171, 76, "crlf"),
        ("copy", 4),
        ("raw", 1, 0, 8),
        ("copy", 2),
    )
    assert builder.octets == 10 + 5 + 78 + 156 + 4 + 8 + 2


def test_copied_pieces_of_a_part_advance_its_offset() -> None:
    builder = ProgramBuilder()
    builder.body(0, LINES, 78, 57)
    builder.body(0, COPY, 6, 4)
    builder.body(0, LINES, 78, 57)
    assert builder.program[2] == ("base64", 0, 61, 57, 76, "crlf")


def test_an_empty_piece_is_no_step() -> None:
    builder = ProgramBuilder()
    builder.copy(0)
    assert not builder.body(0, IDENTITY, 0, 0)
    assert not builder.body(0, COPY, 0, 2)
    assert builder.program == ()


def test_lines_of_another_kind_or_part_are_another_step() -> None:
    builder = ProgramBuilder()
    builder.body(0, LINES, 78, 57)
    builder.body(0, Base64Lines(76, "lf"), 77, 57)
    builder.body(1, Base64Lines(76, "lf"), 77, 57)
    builder.body(1, Base64Lines(72, "lf"), 73, 54)
    assert len(builder.program) == 4


def test_past_the_limit_of_steps_the_rest_is_one_copy() -> None:
    builder = ProgramBuilder(steps=3)
    builder.copy(1)
    assert not builder.body(0, LINES, 78, 57)
    assert builder.full
    assert not builder.body(0, LINES, 78, 57)
    assert builder.body(0, Base64Lines(72, "lf"), 73, 54)
    builder.copy(1)
    assert builder.body(0, LINES, 78, 57)
    assert builder.program == (
        ("copy", 1),
        ("base64", 0, 0, 114, 76, "crlf"),
        ("copy", 73 + 1 + 78),
    )


@pytest.mark.parametrize("line_end", ["crlf", "lf"])
@pytest.mark.parametrize("count", [1, 255, 256, 257, 3000])
def test_a_part_is_encoded_as_the_lines_that_came(line_end: str, count: int) -> None:
    octets = bytes(i * 31 % 251 for i in range(count * 57))
    end = {"crlf": b"\r\n", "lf": b"\n"}[line_end]
    encoded = base64.b64encode(octets)
    expected = b"".join(encoded[i : i + 76] + end for i in range(0, len(encoded), 76))
    program = [("copy", 3), ("base64", 0, 2, len(octets), 76, line_end), ("copy", 1)]
    assert run(program, [b"a", b"bcd"], b"__" + octets + b"__") == b"abc" + expected + b"d"


def test_a_message_with_attachments_keeps_little_in_its_skeleton() -> None:
    attachment = base64.encodebytes(bytes(range(256)) * 500).replace(b"\n", b"\r\n")
    octets = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + attachment + b"\r\n--b--\r\n"
    )
    again, builder, skeleton, parts = rebuilt(octets, [4096])
    assert again == octets
    assert parts == [bytes(range(256)) * 500]
    assert len(skeleton) < 250
    assert len(builder.program) == 3


@pytest.mark.parametrize(
    ("program", "skeleton"),
    [
        ([("copy", 3)], [b"ab"]),
        ([("copy", 3)], [b"abc", b"d"]),
        ([("copy", 1)], [b"abc"]),
        ([("raw", 0, 3, 4)], []),
        ([("base64", 0, 0, 57, 76, "crlf")], []),
    ],
)
def test_a_skeleton_or_part_of_another_size_fails(
    program: list[tuple[str | int, ...]], skeleton: list[bytes]
) -> None:
    with pytest.raises(ProofFailed):
        run(program, skeleton, b"short")


@pytest.mark.parametrize(
    "step",
    [
        ("zip", 0, 0, 4),
        ("copy",),
        ("copy", "4"),
        ("base64", 0, 0, 4, 76, "crlf"),
        ("base64", 0, 0, 3, 0, "crlf"),
        ("base64", 0, 0, 3, 4, "cr"),
    ],
)
def test_an_unknown_step_fails_and_says_so(step: tuple[str | int, ...]) -> None:
    with pytest.raises(ProofFailed, match="unknown kind"):
        run([step], [b"abcd"], b"abcd")
