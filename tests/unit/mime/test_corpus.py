"""Other projects' test messages, as they are and with CR LF line ends."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from ingest.mime.charset import decode_charset
from ingest.mime.envelope import envelope
from ingest.mime.events import Body, HeaderBlock, PartBegin, PartEnd, Skeletal
from tests.unit.mime.replay import Message, copied, merged, raw, rebuilt, split

CORPUS = Path(__file__).parents[4] / "shared" / "corpora" / "mime"
MESSAGES = sorted((*CORPUS.rglob("*.eml"), *CORPUS.rglob("*.raw")))

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif(not MESSAGES, reason="no folder ../shared/corpora/mime beside the checkout"),
]


def as_crlf(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def variants(path: Path) -> list[bytes]:
    octets = path.read_bytes()
    return [octets, as_crlf(octets)]


def name_of(path: Path) -> str:
    return str(path.relative_to(CORPUS))


every_message = pytest.mark.parametrize("path", MESSAGES, ids=name_of)


@every_message
def test_the_events_give_every_octet_back_in_order(path: Path) -> None:
    for octets in variants(path):
        assert raw(split(octets)) == octets


@every_message
def test_chunking_makes_no_difference(path: Path) -> None:
    seed = random.Random(path.name)
    for octets in variants(path):
        whole = merged(split(octets))
        for most in (7, 80, 3000):
            chunks = [seed.randint(1, most) for _ in range(97)]
            assert merged(split(octets, chunks)) == whole
        if len(octets) < 8_000:
            assert merged(split(octets, [1])) == whole


@every_message
def test_skeleton_parts_and_program_rebuild_the_message(path: Path) -> None:
    for octets in variants(path):
        again, builder, skeleton, _ = rebuilt(octets)
        assert again == octets
        assert builder.octets == len(octets)
        assert copied(builder) == len(skeleton)


@every_message
def test_the_envelope_is_made_of_any_header(path: Path) -> None:
    for event in split(path.read_bytes()):
        if isinstance(event, HeaderBlock):
            made = envelope(event.fields)
            json.dumps([made.subject, made.sender, made.to]).encode()
            made.subject.encode()


@every_message
def test_names_are_safe(path: Path) -> None:
    for leaf in Message(path.read_bytes()).leaves.values():
        name = leaf.header.filename
        assert "/" not in name
        assert "\\" not in name
        assert name.isprintable()
        assert len(name.encode()) <= 200
        leaf.header.filename_raw.encode()


# Where another parser's recorded part tree differs from ours, and why ours stays.
DISAGREEMENTS = {
    "malformed/000": "it finds no part; RFC 2046 delimiters stand at every line start, so four",
    "malformed/001": "it takes boundary 'a' for a delimiter of 'ab'; a delimiter is a whole line",
    "malformed/002": "a multipart without a delimiter: it invents a part of the preamble",
    "malformed/004": "as 002: --ab and --ac are no delimiters of boundary a",
    "malformed/007": "it makes a part of what follows an inner close delimiter",
    "malformed/009": "an outer delimiter must end inner multiparts (RFC 2046 section 5.1.2)",
    "malformed/011": "as 009",
    "malformed/012": "as 009, with embedded messages",
    "malformed/013": "an open delimiter at the very end begins an empty part",
    "malformed/014": "as 013",
    "malformed/016": "as 009, with boundaries longer than RFC 2046 allows",
    "malformed/020": "a header without its blank line: it ends it at the second Content-Type",
    "malformed/021": "as 020",
    "malformed/022": "an embedded message that is one line of prose: we call that a header",
    "rfc/008": "it descends into a base64 message/rfc822, which RFC 2046 section 5.2.1 forbids",
    "thirdparty/005": "it ends a part at a delimiter in the middle of a line",
}
RECORDED = sorted(CORPUS.rglob("*.crlf.json"))
# Leaves of which the recording has other content, and why ours stays.
OTHER_CONTENT = {
    ("rfc/000", "3.1"): "it gives up on prose that is called base64; we decode what there is",
    ("rfc/000", "3.2"): "as 3.1",
    (
        "thirdparty/002",
        "2",
    ): "likewise, trailing junk; and we read octets that aren't UTF-8 as latin-1",
    ("thirdparty/002", "3"): "as 2",
}


def recorded_leaves(parts: list[dict[str, Any]], index: int = 0) -> list[dict[str, Any]]:
    body = parts[index]["body"]
    if "Multipart" in body:
        return [leaf for child in body["Multipart"] for leaf in recorded_leaves(parts, child)]
    if "Message" in body:
        return recorded_leaves(body["Message"]["parts"])
    return [parts[index]]


def ranges(octets: bytes) -> list[tuple[int, int]]:
    position, found, start = 0, list[tuple[int, int]](), 0
    for event in split(octets):
        if isinstance(event, Skeletal):
            position += len(event.octets)
        elif isinstance(event, PartBegin):
            start = position
        elif isinstance(event, Body):
            position += len(event.raw)
        elif isinstance(event, PartEnd):
            found.append((start, position))
    return found


@pytest.mark.parametrize("path", RECORDED, ids=name_of)
def test_parts_are_where_another_parser_found_them(path: Path) -> None:
    stem = path.parent / path.name.split(".")[0]
    octets = as_crlf(stem.with_suffix(".eml").read_bytes())
    name = name_of(stem).removeprefix("mail-parser/")
    recorded = recorded_leaves(json.loads(path.read_text())["parts"])
    agreed = [(leaf["offset_body"], leaf["offset_end"]) for leaf in recorded] == ranges(octets)
    assert agreed == (name not in DISAGREEMENTS), DISAGREEMENTS.get(name, name)
    if not agreed:
        return
    for theirs, ours in zip(recorded, Message(octets).leaves.values(), strict=True):
        if (name, ours.header.path) in OTHER_CONTENT:
            continue
        ((kind, content),) = theirs["body"].items()
        if kind in {"Text", "Html"}:
            assert decode_charset(ours.decoded, ours.header.charset) == content
        else:
            assert ours.decoded == bytes(content)
