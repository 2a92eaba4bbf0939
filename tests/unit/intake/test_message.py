"""One message on its way in: what becomes an object, what stays in the skeleton."""

from __future__ import annotations

import base64
import hashlib
import quopri
import random
import tracemalloc

import pytest

from ingest.errors import StoreFull
from ingest.model import Record
from tests.fakes.world import World

PDF = random.Random(7).randbytes(3000)


def multipart(*parts: tuple[str, bytes]) -> bytes:
    lines = [
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n"
    ]
    for header, body in parts:
        lines += [b"--B\r\n", header.encode(), b"\r\n\r\n", body, b"\r\n"]
    return b"".join([*lines, b"--B--\r\n"])


def encoded(octets: bytes) -> bytes:
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")


BASE64 = "Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64"
PRINTABLE = "Content-Type: application/x; name=q\r\nContent-Transfer-Encoding: quoted-printable"
BINARY = "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary"
TEXT = "Content-Type: text/plain"


def ingested(octets: bytes, *, threshold: int = 1000, chunk: int = 700) -> tuple[World, Record]:
    world = World(part_threshold=threshold)
    world.server.chunk = chunk
    world.deliver(octets)
    world.session()
    world.assert_all_is_published()
    (record,) = world.records()
    return world, record


@pytest.mark.parametrize("chunk", [1, 57, 700, 1_000_000])
def test_a_large_base64_part_becomes_an_object_and_leaves_the_skeleton(chunk: int) -> None:
    world, record = ingested(multipart((TEXT, b"hello"), (BASE64, encoded(PDF))), chunk=chunk)
    text, pdf = record.parts
    assert (text.path, text.key) == ("1", "")
    assert (pdf.path, pdf.filename, pdf.octets) == ("2", "a.pdf", len(PDF))
    assert world.store.objects[pdf.key] == PDF
    assert pdf.sha256 == hashlib.sha256(PDF).hexdigest()
    assert record.skeleton.octets < 600


def test_a_part_below_the_threshold_stays_in_the_skeleton() -> None:
    _, record = ingested(multipart((BASE64, encoded(PDF[:999]))))
    assert record.parts[0].key == ""
    assert record.parts[0].sha256 == hashlib.sha256(PDF[:999]).hexdigest()


def test_a_part_as_large_as_the_threshold_becomes_an_object() -> None:
    _, record = ingested(multipart((BASE64, encoded(PDF[:1000]))))
    assert record.parts[0].key


def test_a_threshold_of_zero_extracts_every_attachment_and_no_text_body() -> None:
    _, record = ingested(multipart((TEXT, b"hello"), (BASE64, b"")), threshold=0)
    assert [bool(part.key) for part in record.parts] == [False, True]


def test_a_binary_part_is_taken_out_as_it_is() -> None:
    octets = PDF.replace(b"\r", b"r").replace(b"\n", b"n")
    world, record = ingested(multipart((BINARY, octets)))
    assert world.store.objects[record.parts[0].key] == octets
    assert record.skeleton.octets < 600


def test_a_large_quoted_printable_part_is_stored_decoded_and_kept_in_the_skeleton() -> None:
    body = quopri.encodestring(b"caf\xc3\xa9 " * 300).replace(b"\n", b"\r\n")
    world, record = ingested(multipart((PRINTABLE, body)))
    assert world.store.objects[record.parts[0].key] == b"caf\xc3\xa9 " * 300
    assert record.skeleton.octets == record.octets


def test_irregular_base64_is_stored_decoded_and_had_back_octet_for_octet() -> None:
    lines = encoded(PDF).split(b"\r\n")
    lines[10] = b" " + lines[10]
    world, record = ingested(multipart((BASE64, b"\r\n".join(lines))))
    assert world.store.objects[record.parts[0].key] == PDF


def test_a_large_skeleton_is_an_object_of_its_own() -> None:
    octets = b"Subject: x\r\n\r\n" + b"lorem ipsum\r\n" * 50_000
    world, record = ingested(octets, chunk=10_000)
    assert world.store.objects[record.skeleton.key] == octets


def test_an_encoded_body_of_nothing_is_not_held_in_memory() -> None:
    world = World(part_threshold=1000)
    world.deliver(multipart((PRINTABLE, b"=\r\n" * 2_000_000)))
    tracemalloc.start()
    world.session()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    stored = sum(map(len, world.store.objects.values()))  # a store in memory counts too
    assert peak < 2.5 * stored + 4_000_000


def test_a_message_that_comes_octet_by_octet_takes_no_more_memory() -> None:
    octets = b"Subject: x\r\n\r\n" + b"y" * 200_000
    tracemalloc.start()
    try:
        ingested(octets, threshold=10**6, chunk=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(octets)


def test_a_full_store_leaves_no_upload_behind_and_deletes_nothing() -> None:
    world = World()
    world.deliver(multipart((BASE64, encoded(PDF))))
    world.store.fail("write", StoreFull("no space left"), nth=2)
    with pytest.raises(StoreFull):
        world.session()
    assert not world.store.uploads
    assert len(world.server.messages) == 1


def test_the_record_says_who_wrote_what_and_when() -> None:
    octets = (
        b"From: =?utf-8?q?Caf=C3=A9?= <cafe@example.org>\r\nTo: a@example.com\r\n"
        b"Subject: =?utf-8?b?w4l0w6k=?=\r\nDate: Thu, 1 Jan 2026 10:00:00 +0100\r\n"
        b"Message-ID: <1@example.org>\r\n\r\nBonjour,\r\nvoici.\r\n"
    )
    _, record = ingested(octets)
    envelope = record.envelope
    assert envelope.sender == ("Café <cafe@example.org>",)
    assert (envelope.subject, envelope.date[:10]) == ("Été", "2026-01-01")
    assert record.preview == "Bonjour, voici."
