from __future__ import annotations

from typing import get_args

import pytest

from ingest.mime.defects import DefectName
from ingest.mime.events import Body, HeaderBlock, PartBegin, Skeletal
from ingest.mime.limits import Limits
from ingest.mime.splitter import Splitter
from tests.unit.mime.replay import Message, raw, split

MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


def test_a_message_without_mime_is_one_text_part() -> None:
    message = Message(b"Subject: hello\r\n\r\nbody\r\n")
    leaf = message.leaves["1"]
    assert leaf.raw == b"body\r\n"
    assert (leaf.header.content_type, leaf.header.encoding) == ("text/plain", "7bit")
    assert not leaf.header.is_attachment
    assert message.headers[""] == (("subject", b"hello"),)
    assert message.defects == []


def test_a_message_without_an_octet_is_one_empty_part() -> None:
    message = Message(b"")
    assert message.shape == [("1", "text/plain")]
    assert message.leaves["1"].raw == b""


def test_a_message_that_is_only_a_header_is_one_empty_part() -> None:
    message = Message(b"Subject: x\r\nFrom: y@z")
    assert message.shape == [("1", "text/plain")]
    assert [field.name for field in message.headers[""]] == ["subject", "from"]


def test_a_message_without_a_header_begins_with_the_blank_line() -> None:
    assert Message(b"\nbody").leaves["1"].raw == b"body"


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
def test_the_line_end_before_a_boundary_belongs_to_the_boundary(line_end: bytes) -> None:
    octets = MIXED + b"--b\r\n\r\none\r\n\r\n--b\r\n\r\ntwo\r\n--b--\r\n"
    message = Message(octets.replace(b"\r\n", line_end))
    assert message.leaves["1"].raw == b"one" + line_end
    assert message.leaves["2"].raw == b"two"
    assert message.defects == []


def test_a_body_may_be_empty_with_and_without_a_line_end_of_its_own() -> None:
    message = Message(MIXED + b"--b\r\n\r\n--b\r\n\r\n\r\n--b\r\n--b--")
    assert [leaf.raw for leaf in message.leaves.values()] == [b"", b"", b""]


def test_a_bare_cr_is_a_part_of_the_body() -> None:
    message = Message(MIXED + b"--b\n\na\r--b\rb\r\r\n--b--")
    assert message.leaves["1"].raw == b"a\r--b\rb\r"


def test_a_boundary_is_a_whole_line_with_white_space_after_it() -> None:
    message = Message(MIXED + b"--b \t\r\n\r\none\r\n--bc\r\n--b-\r\n --b\r\n--B\r\n--b--  \r\nend")
    assert message.leaves["1"].raw == b"one\r\n--bc\r\n--b-\r\n --b\r\n--B"


def test_preamble_and_epilogue_are_skeleton() -> None:
    octets = MIXED + b"pre\r\n--b\r\n\r\none\r\n--b--\r\npost\r\n--b\r\n\r\nnot a part"
    message = Message(octets)
    assert message.leaves["1"].raw == b"one"
    assert list(message.leaves) == ["1"]
    skeleton = b"".join(event.octets for event in split(octets) if isinstance(event, Skeletal))
    assert skeleton == octets.replace(b"one", b"")


def test_paths_are_imap_section_numbers() -> None:
    """The example of RFC 3501 section 6.4.5, completed."""
    octets = (
        MIXED
        + b"--b\n\n1\n--b\nContent-Type: application/octet-stream\n\n2\n"
        + b"--b\nContent-Type: message/rfc822\n\nSubject: in 3\n"
        + b"Content-Type: multipart/mixed; boundary=c\n\n--c\n\n3.1\n"
        + b"--c\nContent-Type: application/pdf\n\n3.2\n--c--\n"
        + b"--b\nContent-Type: multipart/mixed; boundary=d\n\n--d\nContent-Type: image/gif\n\n4.1\n"
        + b"--d\nContent-Type: message/rfc822\n\nSubject: in 4.2\n"
        + b"Content-Type: multipart/alternative; boundary=e\n\n--e\n\n4.2.1\n"
        + b"--e\nContent-Type: message/rfc822\n\nSubject: in 4.2.2\n\n4.2.2.1\n--e--\n"
        + b"--d--\n--b--\n"
    )
    message = Message(octets)
    assert list(message.headers) == ["", "3", "4.2", "4.2.2"]
    assert message.headers["4.2.2"][0].raw == b"in 4.2.2"
    for path, leaf in message.leaves.items():
        assert leaf.raw.decode() == path
    assert list(message.leaves) == ["1", "2", "3.1", "3.2", "4.1", "4.2.1", "4.2.2.1"]
    assert message.defects == []


def test_a_message_that_is_an_embedded_message_has_its_body_at_1_1() -> None:
    message = Message(b"Content-Type: message/rfc822\n\nSubject: in\n\nbody")
    assert list(message.headers) == ["", "1"]
    assert message.leaves["1.1"].raw == b"body"


def test_the_parts_of_a_digest_are_messages_by_default() -> None:
    message = Message(
        b"Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: s\n\nbody\n"
        b"--b\nContent-Type: text/html\n\n<p>\n--b--"
    )
    assert message.headers["1"] == (("subject", b"s"),)
    assert message.shape == [("1.1", "text/plain"), ("2", "text/html")]


def test_an_outer_boundary_ends_inner_multiparts() -> None:
    message = Message(
        MIXED
        + b"--b\nContent-Type: multipart/mixed; boundary=bb\n\n--bb\n\ninner\n--b\n\nouter\n--b--"
    )
    assert {path: leaf.raw for path, leaf in message.leaves.items()} == {
        "1.1": b"inner",
        "2": b"outer",
    }
    assert message.defects == [("multipart-unterminated", "1")]


def test_of_equal_boundaries_the_inner_one_counts() -> None:
    message = Message(
        MIXED
        + b"--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nin\n--b--\n--b\n\nout\n--b--"
    )
    assert {path: leaf.raw for path, leaf in message.leaves.items()} == {"1.1": b"in", "2": b"out"}


def test_a_boundary_in_a_header_ends_the_entity() -> None:
    message = Message(
        MIXED + b"--b\nContent-Type: text/html\n--b\nContent-Type: message/rfc822\n--b--"
    )
    assert message.shape == [("1", "text/html"), ("2.1", "text/plain")]


def test_a_multipart_whose_header_lacks_the_blank_line_has_its_parts() -> None:
    message = Message(b"Content-Type: multipart/mixed; boundary=b\n--b\n\none\n--b--")
    assert message.leaves["1"].raw == b"one"
    assert message.defects == [("header-unterminated", "")]


def test_a_boundary_is_found_after_thousands_of_lines_that_only_begin_like_one() -> None:
    """Scanning changes its ways after some misses; neither may see another boundary."""
    misses = b"\n--\n--bb\n--b-\n--B\r\n--b\x0b" * 1000
    octets = MIXED + b"--b\n\n" + misses + b"\r\n--b \t\r\n\ntwo" + misses + b"\n--b--"
    for chunks in ([len(octets)], [97, 5], [1]):
        message = Message(octets, chunks)
        assert {path: leaf.raw for path, leaf in message.leaves.items()} == {
            "1": misses,
            "2": b"two" + misses,
        }


def test_after_such_lines_the_boundary_of_an_inner_multipart_is_found() -> None:
    inner = (
        b"Content-Type: multipart/mixed; boundary=c\n\n" + b"\n--x" * 100 + b"\n--c\n\nin\n--c--"
    )
    message = Message(MIXED + b"\n--x" * 100 + b"\n--b\n" + inner + b"\n--b\n\nout\n--b--")
    assert {path: leaf.raw for path, leaf in message.leaves.items()} == {"1.1": b"in", "2": b"out"}


def test_quoted_and_spaced_boundaries_are_found() -> None:
    message = Message(
        b'Content-Type: multipart/mixed;\n boundary="a \\"b: "\n\n--a "b:\n\none\n--a "b:--'
    )
    assert message.leaves["1"].raw == b"one"


def test_a_boundary_of_raw_octets_is_found() -> None:
    message = Message(b'Content-Type: multipart/mixed; boundary="\xe4\xff"\n\n--\xe4\xff\n\none')
    assert message.leaves["1"].raw == b"one"


def test_a_body_streams_before_its_part_ends() -> None:
    splitter = Splitter()
    events = splitter.feed(MIXED + b"--b\r\n\r\n" + b"x" * 10_000)
    assert [type(event) for event in events[-2:]] == [PartBegin, Body]
    assert isinstance(events[-1], Body)
    assert len(events[-1].raw) == 10_000


def test_views_stay_valid_after_the_next_feed() -> None:
    splitter = Splitter()
    buffer = bytearray(b"Subject: x\n\nfirst")
    first = splitter.feed(memoryview(buffer))
    buffer[:] = b"Z" * len(buffer)
    splitter.feed(bytes(buffer))
    assert raw(first) == b"Subject: x\n\nfirst"


def test_a_header_over_its_limit_leaves_an_opaque_part_up_to_the_boundary() -> None:
    limits = Limits(header_octets=60)
    long = b"Content-Type: text/html\nX-Long: " + b"x" * 100
    message = Message(
        b"Content-Type: multipart/mixed;boundary=b\n\n--b\n"
        + long
        + b"\n\nbody\n--b\n\ntwo\n--b--",
        limits=limits,
    )
    assert message.leaves["1"].header.content_type == "application/octet-stream"
    assert message.leaves["1"].raw == long[60:] + b"\n\nbody"
    assert message.leaves["2"].raw == b"two"
    assert message.defects == [("header-octets-limit", "1")]


def test_the_header_of_a_message_over_its_limit_still_gives_its_first_fields() -> None:
    octets = b"Subject: kept\nX-Long: " + b"x" * 100
    message = Message(octets, limits=Limits(header_octets=50))
    assert message.headers[""][0] == ("subject", b"kept")
    assert message.leaves["1"].raw == octets[50:]


def test_a_header_of_exactly_the_limit_is_read() -> None:
    octets = b"Subject: x\nTo: y@z\n\nbody"
    message = Message(octets, limits=Limits(header_octets=octets.index(b"\nbody")))
    assert message.leaves["1"].raw == b"body"
    assert message.defects == []


def test_a_boundary_right_where_the_limit_of_a_header_is_ends_the_part() -> None:
    part = b"X: " + b"x" * 50 + b"\n"
    octets = b"Content-Type: multipart/mixed;boundary=b\n\n--b\n" + part + b"--b\n\ntwo\n--b--"
    for chunks in ([1000], [1]):
        message = Message(octets, chunks, Limits(header_octets=len(part)))
        assert {path: leaf.raw for path, leaf in message.leaves.items()} == {"1": b"", "2": b"two"}
        assert message.defects == []


def test_parts_past_the_limit_are_one_opaque_part() -> None:
    octets = MIXED + b"".join(b"--b\n\n%d\n" % i for i in range(9)) + b"--b--"
    message = Message(octets, limits=Limits(parts=4))
    assert list(message.leaves) == ["1", "2", "3", "4"]
    assert message.leaves["4"].raw == octets[octets.index(b"\n3\n") :]
    assert message.leaves["4"].header.content_type == "application/octet-stream"
    assert message.defects == [("parts-limit", "4")]


def test_containers_past_the_depth_are_opaque_parts_that_end_at_the_boundary() -> None:
    octets = MIXED + b"--b\nContent-Type: message/rfc822\n\nSubject: in\n\nbody\n--b--"
    message = Message(octets, limits=Limits(depth=1))
    assert message.shape == [("1", "message/rfc822")]
    assert message.leaves["1"].raw == b"Subject: in\n\nbody"
    assert message.defects == [("depth-limit", "1")]


def test_an_encoded_message_is_one_opaque_part() -> None:
    message = Message(
        b"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogeA=="
    )
    assert message.shape == [("1", "message/rfc822")]
    assert message.leaves["1"].decoded == b"Subject: x"
    assert message.defects == [("container-encoded", "1")]


def test_a_part_says_what_its_header_says() -> None:
    message = Message(
        b"Content-Type: Image/PNG; name=other.png\nContent-Transfer-Encoding: BASE64 (sic)\n"
        b"Content-Disposition: Attachment; filename*=utf-8''%E2%82%AC.png\nContent-ID: <i@d>\n\n"
        b"QUJD"
    )
    header = message.leaves["1"].header
    assert header.content_type == "image/png"
    assert header.encoding == "base64"
    assert header.disposition == "attachment"
    assert header.filename == "€.png"
    assert header.filename_raw == "utf-8''%E2%82%AC.png"
    assert header.content_id == "i@d"
    assert header.is_attachment
    assert message.leaves["1"].decoded == b"ABC"


DAMAGED: dict[DefectName, bytes] = {
    "header-line-invalid": b"no field\nSubject: x\n\n",
    "header-unterminated": b"Subject: x\n--y\n",
    "header-octets-limit": b"X: " + b"x" * 300,
    "header-fields-limit": b"X: x\n" * 9 + b"\n",
    "content-type-invalid": b"Content-Type: nonsense\n\n",
    "encoding-unknown": b"Content-Transfer-Encoding: x-uuencode\n\nbegin 644 x\n",
    "container-encoded": MIXED[:-2] + b"Content-Transfer-Encoding: base64\n\nQUJD",
    "multipart-without-boundary": b"Content-Type: multipart/mixed; boundary=\n\n--\n",
    "multipart-without-parts": MIXED + b"no delimiter",
    "multipart-unterminated": MIXED + b"--b\n\none\n",
    "depth-limit": b"Content-Type: message/rfc822\n\n" * 4,
    "parts-limit": MIXED + b"--b\n" * 9,
    "base64-junk": b"Content-Transfer-Encoding: base64\n\nQU!JD",
    "base64-after-padding": b"Content-Transfer-Encoding: base64\n\nQQ==QQ==",
    "base64-truncated": b"Content-Transfer-Encoding: base64\n\nQUJDQ",
    "base64-irregular": b"Content-Transfer-Encoding: base64\n\n" + b"QUJD\nQUJDQUJD\n" * 9,
    "quoted-printable-invalid": b"Content-Transfer-Encoding: quoted-printable\n\n=zz",
}


@pytest.mark.parametrize("name", get_args(DefectName))
def test_each_damage_is_named(name: DefectName) -> None:
    limits = Limits(depth=3, parts=5, header_octets=200, header_fields=5, base64_breaks=6)
    message = Message(DAMAGED[name], limits=limits)
    assert name in [found for found, _ in message.defects]


def test_header_blocks_of_parts_are_not_announced() -> None:
    events = list(split(MIXED + b"--b\nX: y\n\nz\n--b--"))
    assert [event.path for event in events if isinstance(event, HeaderBlock)] == [""]
