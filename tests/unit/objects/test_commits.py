from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pybase64
import pytest
from ulid import ULID

from ingest.errors import ObjectMissing, ProofFailed
from ingest.model import Envelope, Part, Record, Skeleton
from ingest.objects import keys
from ingest.objects.commits import CommitReader, encode, rebuild_message
from tests.fakes.memory_store import MemoryStore

BATCH = str(ULID.from_datetime(datetime(2026, 11, 24, 7, tzinfo=UTC)))
KEY = keys.commit(BATCH)


def record_of(
    index: int,
    octets: bytes = b"",
    *,
    skeleton: Skeleton | None = None,
    program: tuple[tuple[str | int, ...], ...] | None = None,
    parts: tuple[Part, ...] = (),
    subject: str = "",
) -> Record:
    sha256 = hashlib.sha256(octets).hexdigest()
    return Record(
        id=f"{index:032x}",
        mailbox="mb",
        tenant="default",
        batch=BATCH,
        index=index,
        unique_id=f"uid-{index}",
        listed_octets=len(octets),
        octets=len(octets),
        sha256=sha256,
        header_sha256="",
        retrieved_at=datetime(2026, 11, 24, 7, tzinfo=UTC),
        skeleton=skeleton or Skeleton(len(octets), sha256),
        program=(("copy", len(octets)),) if program is None else program,
        envelope=Envelope(subject=subject),
        parts=parts,
    )


def stored(entries: list[tuple[Record, bytes | None]]) -> tuple[MemoryStore, CommitReader]:
    store = MemoryStore()
    store.put(KEY, encode(entries))
    return store, CommitReader(store, KEY)


ENTRIES: list[tuple[Record, bytes | None]] = [
    (record_of(0, b"first", subject="Grüße"), b"first"),
    (record_of(1, b"second", skeleton=Skeleton(6, "", key="elsewhere")), None),
    (record_of(2), b""),
]


def test_the_standard_library_reads_a_commit_object() -> None:
    with zipfile.ZipFile(io.BytesIO(encode(ENTRIES))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            "0/record.json",
            "1/record.json",
            "2/record.json",
            "0/skeleton",
            "2/skeleton",
        ]
        assert archive.read("0/skeleton") == b"first"
        assert msgspec.json.decode(archive.read("0/record.json"), type=Record) == ENTRIES[0][0]
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.skipif(shutil.which("unzip") is None, reason="needs unzip")
def test_unzip_reads_a_commit_object(tmp_path: Path) -> None:
    (tmp_path / "commit.zip").write_bytes(encode(ENTRIES))
    subprocess.run(["unzip", "-q", "commit.zip"], cwd=tmp_path, check=True)
    assert (tmp_path / "0" / "skeleton").read_bytes() == b"first"


def test_the_same_records_make_the_same_octets() -> None:
    assert encode(ENTRIES) == encode(ENTRIES)


def test_every_record_is_read_back_in_order() -> None:
    _, reader = stored(ENTRIES)
    assert list(reader.records()) == [record for record, _ in ENTRIES]


def test_all_records_are_read_without_the_skeletons() -> None:
    store, reader = stored([(record_of(0, b"x"), bytes(10_000_000))])
    reads: list[int] = []
    real = store.read

    def note(key: str, start: int = 0, octets: int | None = None) -> Iterator[bytes]:
        for block in real(key, start, octets):
            reads.append(len(block))
            yield block

    store.read = note  # type: ignore[method-assign]  # counts
    assert len(list(reader.records())) == 1
    assert sum(reads) < 100_000


def test_one_record_and_one_skeleton_are_read_by_index() -> None:
    _, reader = stored(ENTRIES)
    assert reader.record(1) == ENTRIES[1][0]
    assert reader.skeleton(0) == b"first"
    assert reader.skeleton(2) == b""


def test_a_skeleton_that_is_not_there_is_said() -> None:
    _, reader = stored(ENTRIES)
    with pytest.raises(ProofFailed, match="has no 1/skeleton"):
        reader.skeleton(1)


def test_an_empty_batch_is_read_as_nothing() -> None:
    _, reader = stored([])
    assert list(reader.records()) == []


def test_a_directory_larger_than_one_read_is_read() -> None:
    entries: list[tuple[Record, bytes | None]] = [(record_of(n, b"x"), b"x") for n in range(3000)]
    _, reader = stored(entries)
    assert list(reader.records()) == [record for record, _ in entries]
    assert reader.skeleton(2999) == b"x"


def test_more_members_than_sixteen_bits_count_are_read_here_and_elsewhere() -> None:
    small = record_of(0)
    entries: list[tuple[Record, bytes | None]] = [
        (msgspec.structs.replace(small, index=n), b"") for n in range(33_000)
    ]
    store, reader = stored(entries)
    assert sum(1 for _ in reader.records()) == 33_000
    with zipfile.ZipFile(io.BytesIO(store.objects[KEY])) as archive:
        assert len(archive.namelist()) == 66_000
        assert archive.read("32999/skeleton") == b""


def test_every_damaged_octet_of_the_records_is_noticed() -> None:
    whole = encode(ENTRIES[:1])
    store = MemoryStore()
    unnoticed = []
    for at in range(len(whole)):
        store.put(KEY, whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        reader = CommitReader(store, KEY)
        try:
            same = (list(reader.records()), reader.skeleton(0)) == ([ENTRIES[0][0]], b"first")
        except ProofFailed:
            continue
        if not same:
            unnoticed.append(at)
    assert unnoticed == []


@pytest.mark.parametrize("size", [0, 1, 21, 22, 400])
def test_a_commit_object_that_was_cut_is_damaged(size: int) -> None:
    store = MemoryStore()
    store.put(KEY, encode(ENTRIES)[:size])
    with pytest.raises(ProofFailed):
        list(CommitReader(store, KEY).records())


def test_a_compressed_copy_is_not_mistaken() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0/record.json", "{}")
    store = MemoryStore()
    store.put(KEY, packed.getvalue())
    with pytest.raises(ProofFailed, match="compressed"):
        CommitReader(store, KEY).record(0)


def test_a_record_of_another_shape_is_damaged() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("0/record.json", "{}")
    store = MemoryStore()
    store.put(KEY, packed.getvalue())
    with pytest.raises(ProofFailed, match="no readable 0/record"):
        CommitReader(store, KEY).record(0)


def test_a_missing_commit_object_is_missing() -> None:
    with pytest.raises(ObjectMissing):
        list(CommitReader(MemoryStore(), KEY).records())


def spliced() -> tuple[MemoryStore, Record, bytes]:
    """A message whose attachment was cut out: header, two lines of base64, end."""
    attachment = bytes(range(114))
    lines = [pybase64.b64encode(attachment[at : at + 57]) + b"\r\n" for at in (0, 57)]
    octets = b"Header: x\r\n\r\n" + b"".join(lines) + b"end\r\n"
    skeleton = b"Header: x\r\n\r\nend\r\n"
    part = Part(
        path="1",
        content_type="image/png",
        encoded_octets=156,
        octets=114,
        sha256=hashlib.sha256(attachment).hexdigest(),
        key=keys.part(BATCH, 1),
    )
    record = record_of(
        0,
        octets,
        skeleton=Skeleton(len(skeleton), ""),
        program=(("copy", 13), ("base64", 0, 0, 114, 76, "crlf"), ("copy", 5)),
        parts=(part,),
    )
    store = MemoryStore()
    store.put(part.key, attachment)
    store.put(KEY, encode([(record, skeleton)]))
    return store, record, octets


def test_a_message_is_rebuilt_octet_for_octet() -> None:
    store, record, octets = spliced()
    assert b"".join(rebuild_message(store, record)) == octets


def test_a_skeleton_of_its_own_is_read_from_there() -> None:
    store = MemoryStore()
    store.put("part-9", b"whole message")
    record = record_of(0, b"whole message", skeleton=Skeleton(13, "", key="part-9"))
    assert b"".join(rebuild_message(store, record)) == b"whole message"


def test_a_part_with_other_octets_fails_the_proof() -> None:
    store, record, _ = spliced()
    store.put(keys.part(BATCH, 1), bytes(114))
    with pytest.raises(ProofFailed, match="are not the"):
        list(rebuild_message(store, record))


def test_a_part_that_is_too_short_fails_the_proof() -> None:
    store, record, _ = spliced()
    store.put(keys.part(BATCH, 1), bytes(50))
    with pytest.raises(ProofFailed):
        list(rebuild_message(store, record))


def test_a_part_that_is_gone_is_missing() -> None:
    store, record, _ = spliced()
    store.delete([keys.part(BATCH, 1)])
    with pytest.raises(ObjectMissing):
        list(rebuild_message(store, record))


@pytest.mark.parametrize("index", [-1, 1])
def test_a_step_to_a_part_that_is_none_fails_the_proof(index: int) -> None:
    record = record_of(0, b"x", program=(("raw", index, 0, 1),))
    store = MemoryStore()
    store.put(KEY, encode([(record, b"")]))
    with pytest.raises(ProofFailed, match="a part that it has not"):
        list(rebuild_message(store, record))
