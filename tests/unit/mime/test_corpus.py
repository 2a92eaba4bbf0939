"""Other projects' test messages, as they are and with CR LF line ends."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from ingest.mime.envelope import envelope
from ingest.mime.events import HeaderBlock
from tests.unit.mime.replay import Message, merged, raw, rebuilt, split

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
        assert builder.skeleton_octets == len(skeleton)


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
