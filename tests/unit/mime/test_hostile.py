"""Any octets: no error, nothing lost, the same for every chunking, within limits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.mime.envelope import envelope
from ingest.mime.events import Base64Lines, Body, Found, HeaderBlock, PartBegin, PartEnd
from ingest.mime.header import parse
from ingest.mime.limits import Limits
from ingest.mime.splitter import Splitter
from tests.unit.mime.replay import Message, as_lines, copied, merged, raw, rebuilt, split

TIGHT = Limits(
    depth=3,
    parts=6,
    header_octets=120,
    header_fields=4,
    parameters=3,
    boundary_octets=8,
    delimiter_octets=12,
    base64_line_octets=24,
    base64_breaks=3,
    splice_steps=5,
)
FRAGMENTS = [
    *(
        b"\n",
        b"\r\n",
        b"\r",
        b"-",
        b"--",
        b"--b",
        b"--b--",
        b"--bc",
        b"--bc--",
        b" ",
        b"\t",
        b"=",
        b":",
    ),
    *(b"\n--b\n", b"\r\n--b\r\n", b"\n--b--\n", b"\r\n--bc\r\n", b"\r\n--bc--\r\n", b"--b \t\r\n"),
    *(b"\r\n\r\n", b"\n\n", b"x", b"text", b"\x00", b"\xff", b"Subject: =?utf-8?q?=E2=82?=\r\n"),
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n",
    b"Content-Type: multipart/digest; boundary=bc\r\n\r\n",
    b"Content-Type: multipart/mixed; boundary=\r\n\r\n",
    b"Content-Type: message/rfc822\r\n\r\n",
    b"Content-Type: text/plain; name*0*=utf-8''%e2; name*1=x\r\n",
    b"Content-Transfer-Encoding: base64\r\n\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n",
    b"Content-Transfer-Encoding: x-uue\r\n\r\n",
    *(b"QUJD", b"QUJDREVG\r\n", b"QUJDREVG\n", b"QUJDREVGR0hJ\r\n", b"QUI=", b"QQ==", b"Q", b"!"),
    *(b"=41", b"=\r\n", b"=\n", b"=4", b"=zz", b"==41", b"a" * 30),
]
hostile = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=6)), max_size=40).map(
    b"".join
)
chunkings = st.lists(st.integers(1, 40), min_size=1, max_size=6)
limits = st.sampled_from([Limits(), TIGHT])


@given(hostile, chunkings, limits)
@settings(max_examples=400, deadline=None)
def test_nothing_is_lost_and_chunking_makes_no_difference(
    octets: bytes, chunks: list[int], limit: Limits
) -> None:
    whole = list(split(octets, limits=limit))
    assert raw(whole) == octets
    chunked = list(split(octets, chunks, limit))
    assert raw(chunked) == octets
    assert merged(chunked) == merged(whole)
    assert merged(split(octets, [1], limit)) == merged(whole)


@given(hostile, chunkings, limits, st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_every_message_is_rebuilt(
    octets: bytes, chunks: list[int], limit: Limits, steps: int
) -> None:
    again, builder, skeleton, _ = rebuilt(octets, chunks, limit, steps)
    assert again == octets
    assert builder.octets == len(octets)
    assert copied(builder) == len(skeleton)
    assert len(builder.program) <= steps


@given(hostile, limits)
@settings(max_examples=200, deadline=None)
def test_leaves_begin_and_end_in_turn_with_true_sizes(octets: bytes, limit: Limits) -> None:
    path, sizes, seen = "", [0, 0], set[str]()
    for event in split(octets, limits=limit):
        match event:
            case PartBegin(header):
                assert path == ""
                assert header.path not in seen
                path, sizes = header.path, [0, 0]
                seen.add(path)
            case Body(came, decoded, how):
                assert path
                sizes = [sizes[0] + len(came), sizes[1] + len(decoded)]
                if isinstance(how, Base64Lines):
                    assert bytes(came) == as_lines(decoded, how)
            case PartEnd():
                assert event == PartEnd(path, *sizes)
                path = ""
    assert path == ""
    assert len(seen) <= limit.parts


@given(hostile)
@settings(max_examples=200, deadline=None)
def test_any_header_makes_an_envelope_that_can_be_stored(octets: bytes) -> None:
    for event in split(b"Subject: " + octets):
        if isinstance(event, HeaderBlock):
            made = envelope(event.fields)
            for text in (made.subject, made.message_id, *made.sender, *made.references):
                assert text.encode().decode() == text
                assert "\n" not in text


@pytest.mark.parametrize(
    "filler", [b"--", b"\n--b", b"\r", b"\n", b"x", b"\r\n--b ", b"QUJD", b"QUJD\n", b"="]
)
@pytest.mark.parametrize("encoding", [b"7bit", b"base64", b"quoted-printable"])
def test_little_is_held_back_and_each_octet_is_looked_at_a_bounded_number_of_times(
    filler: bytes, encoding: bytes
) -> None:
    splitter = Splitter()
    splitter.feed(b"Content-Type: multipart/mixed; boundary=bb\n\n--bb\n")
    splitter.feed(b"Content-Transfer-Encoding: " + encoding + b"\n\n")
    given = kept = 0
    for _ in range(50):
        given += len(block := filler * 1000)
        events = splitter.feed(block)
        kept += sum(len(event.raw) for event in events if isinstance(event, Body))
        assert given - kept <= 2 * 1024 + 4


def test_hostile_header_blocks_end() -> None:
    """Megabytes, so that anything quadratic runs into the time limit of the test."""
    for filler in (b"-", b" ", b"\r", b"x", b":", b"\n ", b"x\n", b"--x\n", b"x:\n", b"\nx\t"):
        block = parse(filler * (4_000_000 // len(filler)), 1000)
        assert len(block.fields) <= 1000


def test_a_million_tiny_parts_become_one_opaque_part() -> None:
    octets = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n" * 1_000_000
    splitter = Splitter()
    events = splitter.feed(octets)
    assert len(events) < 10_000
    names = [event.defect.name for event in events if isinstance(event, Found)]
    assert names == ["parts-limit"]


def test_nesting_without_end_becomes_one_opaque_part() -> None:
    octets = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i) for i in range(100_000)
    )
    message = Message(octets)
    assert list(message.leaves) == [".".join(["1"] * 50)]
    assert ("depth-limit", ".".join(["1"] * 50)) in message.defects
