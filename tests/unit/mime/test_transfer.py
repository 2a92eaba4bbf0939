from __future__ import annotations

import base64
from typing import Literal, TypeAlias

import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.mime.events import COPY, IDENTITY, Base64Lines, Body
from ingest.mime.limits import Limits
from ingest.mime.transfer import Decoder, decoder
from tests.unit.mime.replay import as_lines, merged

LineEnd: TypeAlias = Literal["crlf", "lf"]
LINE_ENDS: tuple[LineEnd, LineEnd] = ("crlf", "lf")


def decoded(encoding: str, octets: bytes, limits: Limits | None = None) -> list[Body]:
    return pieces(decoder(encoding, limits or Limits()), octets)


def pieces(made: Decoder, octets: bytes) -> list[Body]:
    gathered = [*made.decode(b"<" + octets + b">", 1, len(octets) + 1), *made.close()]
    return [piece for piece in merged(gathered) if isinstance(piece, Body)]


@pytest.mark.parametrize("length", [4, 60, 64, 72, 76, 1000])
@pytest.mark.parametrize("line_end", LINE_ENDS)
@pytest.mark.parametrize("count", [1, 63, 64, 65, 300])
def test_full_lines_are_proven_and_the_last_line_is_copied(
    length: int, line_end: LineEnd, count: int
) -> None:
    kind = Base64Lines(length, line_end)
    octets = bytes(i * 7 % 256 for i in range(count * length // 4 * 3)) + b"z"
    first, last = decoded("base64", as_lines(octets, kind))
    assert first.rebuild == kind
    assert first.decoded == octets[:-1]
    assert last.rebuild is COPY
    assert last.raw == as_lines(b"z", kind)
    assert last.decoded == b"z"


def test_a_full_line_that_ends_in_padding_is_copied() -> None:
    octets = bytes(57) + bytes(56)
    first, last = decoded("base64", as_lines(octets, Base64Lines(76, "crlf")))
    assert (len(first.decoded), first.rebuild) == (57, (76, "crlf"))
    assert (len(last.decoded), last.rebuild) == (56, COPY)


def test_padding_whose_spare_bits_are_set_is_copied() -> None:
    """RFC 4648 section 3.5: decoders may accept it, but encoding does not give it back."""
    (piece,) = decoded("base64", b"QUJDREV=\r\n")
    assert piece.rebuild is COPY
    assert piece.decoded == b"ABCDE"


@pytest.mark.parametrize(
    "line",
    [
        b"QUJD QUJ\r\n",  # white space inside
        b"QUJDQU-D\r\n",  # the alphabet of URLs
        b"QUJDQUJ\r\r\n",  # a CR inside
        b"QUJDQUJDQ\r\n",  # no whole number of quanta
        b"\r\n",
        b"QUJDQUJD \r\n",
        b"QUJDQUJD\n",  # another line end
        b"QQ==QUJD\r\n",  # padding inside
        b"QUJDQ\xff\xfeD\r\n",
    ],
)
def test_one_odd_line_between_others_does_not_spoil_the_proof_of_the_others(line: bytes) -> None:
    regular = b"QUJDQUJD\r\n" * 100
    octets = regular + line + regular
    before, *between = decoded("base64", octets)
    assert before.raw == regular
    assert before.rebuild == (8, "crlf")
    assert b"".join(bytes(piece.raw) for piece in between) == octets[len(regular) :]
    assert Base64Lines(8, "crlf") not in [piece.rebuild for piece in between[:1]]
    for piece in (before, *between):
        if isinstance(piece.rebuild, Base64Lines):
            assert bytes(piece.raw) == as_lines(piece.decoded, piece.rebuild)
    if b"=" not in line:
        plain = bytes(octet for octet in octets if chr(octet).isalnum() and octet < 128)
        given = b"".join(bytes(piece.decoded) for piece in (before, *between))
        assert given == base64.b64decode(plain + b"A" * (-len(plain) % 4))[: len(given)]
        assert len(given) == len(plain) * 3 // 4


@pytest.mark.parametrize("line", [0, 10, 63, 64, 127, 128, 150, 199])
@pytest.mark.parametrize("column", [0, 7, 8, 9])
@pytest.mark.parametrize("octet", [b"!", b"=", b"Q", b"\r", b"\n", b"\xff"])
def test_no_octet_of_a_run_escapes_the_proof(line: int, column: int, octet: bytes) -> None:
    octets = bytearray(b"abcdefgh\r\n" * 200)
    octets[line * 10 + column : line * 10 + column + 1] = octet
    found = decoded("base64", bytes(octets))
    assert b"".join(bytes(piece.raw) for piece in found) == octets
    for piece in found:
        if isinstance(piece.rebuild, Base64Lines):
            assert bytes(piece.raw) == as_lines(piece.decoded, piece.rebuild)


def test_a_decoder_that_errs_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    right = pybase64.b64decode

    def wrong(octets: bytes, *, validate: bool) -> bytes:
        return right(octets, validate=validate)[:-1] + b"?"

    monkeypatch.setattr("ingest.mime.transfer.pybase64.b64decode", wrong)
    (piece,) = decoded("base64", b"QUJDREVG\r\n" * 10)
    assert piece.rebuild is COPY


def test_after_too_many_breaks_everything_is_copied_and_still_decoded() -> None:
    octets = b"QUJD\r\nQUJDREVG\r\n" * 50
    made = decoder("base64", Limits(base64_breaks=10))
    found = pieces(made, octets)
    assert len(found) == 11
    assert found[-1].rebuild is COPY
    assert b"".join(bytes(piece.decoded) for piece in found) == b"ABCABCDEF" * 50
    assert sorted(made.defects) == ["base64-irregular"]


def test_base64_in_one_endless_line_is_decoded_as_it_comes() -> None:
    made = decoder("base64", Limits())
    given_octets = base64.b64encode(bytes(300_000))
    size = 0
    for start in range(0, len(given_octets), 1000):
        block = given_octets[start : start + 1000]
        size += sum(len(piece.decoded) for piece in made.decode(block, 0, len(block)))
        assert size >= start // 4 * 3 - 1024
    assert size + sum(len(piece.decoded) for piece in made.close()) == 300_000


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"QUJD", b"ABC"),
        (b"QU\r\nJ\r\n\r\nD", b"ABC"),
        (b"QUI", b"AB"),
        (b"QQ", b"A"),
        (b"Q", b""),
        (b"QUJDQ", b"ABC"),
        (b"QQ==", b"A"),
        (b"QQ=", b"A"),
        (b"=QUJD", b"ABC"),
        (b"QQ==QUJD", b"AABC"),
        (b"Q=QUJD", b"ABC"),
        (b"Q?U!J D\x00", b"ABC"),
        (b"====", b""),
        (b"", b""),
        (b"QUJD\r\n====\r\n", b"ABC"),
    ],
)
def test_damaged_base64_gives_what_there_is(octets: bytes, expected: bytes) -> None:
    found = decoded("base64", octets)
    assert b"".join(bytes(piece.decoded) for piece in found) == expected
    assert b"".join(bytes(piece.raw) for piece in found) == octets


@given(st.binary(max_size=300), st.integers(1, 12), st.sampled_from(LINE_ENDS))
def test_any_octets_in_base64_are_had_back(octets: bytes, quanta: int, line_end: LineEnd) -> None:
    found = decoded("base64", as_lines(octets, Base64Lines(quanta * 4, line_end)))
    assert b"".join(bytes(piece.decoded) for piece in found) == octets


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"a=3Db", b"a=b"),
        (b"=c3=A4", "ä".encode()),
        (b"soft=\r\n break=\nend", b"soft breakend"),
        (b"hard\r\nbreak\n", b"hard\r\nbreak\n"),
        (b"=zz and =4", b"=zz and =4"),
        (b"==41", b"=A"),
        (b"=\rx", b"=\rx"),
        (b"the end=", b"the end"),
        (b"trailing \t\r\n", b"trailing \t\r\n"),
        (b"\x00\xff", b"\x00\xff"),
    ],
)
def test_quoted_printable(octets: bytes, expected: bytes) -> None:
    found = decoded("quoted-printable", octets)
    assert b"".join(bytes(piece.decoded) for piece in found) == expected
    assert b"".join(bytes(piece.raw) for piece in found) == octets
    assert {piece.rebuild for piece in found} == {COPY}


@pytest.mark.parametrize("encoding", ["7bit", "8bit", "binary", "x-uuencode", "unknown"])
def test_what_is_not_decoded_is_given_as_it_came(encoding: str) -> None:
    (piece,) = decoded(encoding, b"begin 644 =41 QUJD")
    assert piece.rebuild is IDENTITY
    assert bytes(piece.decoded) == bytes(piece.raw) == b"begin 644 =41 QUJD"


def test_padding_in_an_earlier_line_is_remembered() -> None:
    made = decoder("base64", Limits())
    pieces(made, b"QQ==\nQUI")
    assert sorted(made.defects) == ["base64-after-padding", "base64-truncated"]


def test_past_the_limit_of_paddings_they_are_ignored() -> None:
    made = decoder("base64", Limits(base64_paddings=2))
    found = pieces(made, b"QQ==\nQQ==\nQUI=\n")
    assert b"".join(bytes(piece.decoded) for piece in found) == b"A" + base64.b64decode(b"QQQU")
    assert "base64-truncated" in made.defects
