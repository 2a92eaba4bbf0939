"""What every object store promises, held against the real ones and the one in memory."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ulid import ULID

from ingest.errors import ObjectMissing, SessionStopped, StoreRefused
from ingest.objects import keys
from ingest.objects.budget import BLOCK, Budget
from ingest.objects.directory import DirectoryStore
from ingest.objects.open import open_store
from ingest.objects.options import S3Options
from ingest.objects.probe import Store
from ingest.objects.sweep import sweep
from tests.fakes.memory_store import MemoryStore
from tests.servers.seaweedfs import SeaweedFs

PIECE = hashlib.sha256(b"piece").digest() * 6000  # 192,000 octets, as a slice of base64 decodes to
LATER = timedelta(days=1)


def octets_of(size: int) -> bytes:
    return (PIECE * (size // len(PIECE) + 1))[:size]


@pytest.fixture
def budget() -> Budget:
    return Budget(4 * BLOCK, patience=60)


@pytest.fixture(params=["memory", "directory", "seaweedfs"])
def store(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    budget: Budget,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Store]:
    store: Store = MemoryStore()
    if request.param == "directory":
        store = DirectoryStore(tmp_path / "store")
    if request.param == "seaweedfs":
        server: SeaweedFs = request.getfixturevalue("seaweedfs")
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        options = S3Options(endpoint=server.endpoint, path_style=True)
        store = open_store(f"s3://{server.bucket}/{uuid.uuid4().hex}", budget, options)
    yield store
    store.close()
    assert budget.free == budget.octets, "a buffer was not given back"


def write(store: Store, key: str, octets: bytes) -> None:
    with store.create(key) as writer:
        for at in range(0, len(octets), len(PIECE)):
            writer.write(memoryview(octets)[at : at + len(PIECE)])
        durable = writer.commit()
    durable.result(60)


def content(store: Store, key: str) -> bytes:
    return b"".join(store.read(key))


def listed(store: Store, prefix: str = "", after: str = "") -> list[str]:
    return [found.key for found in store.list(prefix, after)]


def unfinished(store: Store) -> int:
    return store.abort_uploads(store.now() + LATER)


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 40_000_000])
def test_what_was_written_is_read_octet_for_octet(store: Store, size: int) -> None:
    octets = octets_of(size)
    write(store, "mail/part-1", octets)
    assert store.size("mail/part-1") == size
    assert content(store, "mail/part-1") == octets
    assert unfinished(store) == 0


def test_the_writers_view_may_change_after_write_returned(store: Store) -> None:
    buffer = bytearray(b"first")
    with store.create("part-1") as writer:
        writer.write(memoryview(buffer))
        buffer[:] = b"other"
        writer.write(buffer)
        durable = writer.commit()
    durable.result(60)
    assert content(store, "part-1") == b"firstother"


@pytest.mark.parametrize("size", [1, 2 * BLOCK + 1])
def test_nothing_is_visible_before_the_commit(store: Store, size: int) -> None:
    with store.create("part-1") as writer:
        writer.write(octets_of(size))
        assert listed(store) == []
        with pytest.raises(ObjectMissing):
            store.size("part-1")
        durable = writer.commit()
    durable.result(60)
    assert listed(store) == ["part-1"]


@pytest.mark.parametrize("size", [0, 1, 2 * BLOCK + 1])
def test_leaving_without_commit_leaves_nothing(store: Store, size: int) -> None:
    with store.create("part-1") as writer:
        writer.write(octets_of(size))
    assert listed(store) == []
    assert unfinished(store) == 0


@pytest.mark.parametrize("size", [1, 2 * BLOCK + 1])
def test_an_exception_in_the_block_leaves_nothing(store: Store, size: int) -> None:
    with suppress(SessionStopped), store.create("part-1") as writer:
        writer.write(octets_of(size))
        raise SessionStopped("shutdown")
    assert listed(store) == []
    assert unfinished(store) == 0


def test_an_exception_after_the_commit_keeps_the_object(store: Store) -> None:
    with suppress(SessionStopped), store.create("part-1") as writer:
        durable = writer.commit()
        raise SessionStopped("shutdown")
    durable.result(60)
    assert listed(store) == ["part-1"]


def test_unfinished_uploads_are_aborted_by_age(store: Store) -> None:
    with store.create("part-1") as writer:
        writer.write(octets_of(2 * BLOCK))
        writer.write(b"x")
        assert store.abort_uploads(store.now() - LATER) == 0


def test_many_writers_share_a_small_budget(store: Store) -> None:
    names = [f"part-{n}" for n in range(24)]
    sizes = {name: 3_000_000 * (n % 8) + n for n, name in enumerate(names)}
    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda name: write(store, name, octets_of(sizes[name])), names))
    assert {found.key: found.octets for found in store.list("part-")} == sizes
    assert content(store, "part-23") == octets_of(sizes["part-23"])
    assert unfinished(store) == 0


def test_many_commits_may_be_under_way_at_a_time(store: Store) -> None:
    pending = []
    for n in range(60):
        with store.create(f"part-{n:02}") as writer:
            writer.write(octets_of(300_000))
            pending.append(writer.commit())
    for durable in pending:
        durable.result(60)
    assert len(listed(store)) == 60


def test_a_small_object_is_put_at_once(store: Store) -> None:
    store.put("checkpoint.json", b"{}")
    assert content(store, "checkpoint.json") == b"{}"


def test_settings_may_be_put_again(store: Store) -> None:
    store.put("mailboxes/a.json", b"first")
    store.put("mailboxes/a.json", b"2")
    assert content(store, "mailboxes/a.json") == b"2"
    assert store.size("mailboxes/a.json") == 1


@pytest.mark.parametrize(
    ("start", "octets"),
    [(0, 0), (0, 1), (5, 10), (299_990, 100), (300_000, None), (400_000, 5), (7, None), (0, 10**9)],
)
def test_a_range_is_read_as_of_a_slice(store: Store, start: int, octets: int | None) -> None:
    whole = octets_of(300_000)
    store.put("part-1", whole)
    expected = whole[start:] if octets is None else whole[start : start + octets]
    assert b"".join(store.read("part-1", start, octets)) == expected


def test_an_empty_object_is_read_as_nothing(store: Store) -> None:
    store.put("part-1", b"")
    assert content(store, "part-1") == b""
    assert b"".join(store.read("part-1", 0, 10)) == b""


def test_reading_may_stop_early(store: Store) -> None:
    store.put("part-1", octets_of(3_000_000))
    assert len(next(iter(store.read("part-1")))) > 0


@pytest.mark.parametrize("key", ["part-1", "mail", "mail/part-1/x"])
def test_what_is_not_there_is_missing(store: Store, key: str) -> None:
    store.put("mail/part-1", b"x")
    with pytest.raises(ObjectMissing):
        content(store, key)
    with pytest.raises(ObjectMissing):
        store.size(key)


def test_objects_are_listed_in_key_order(store: Store) -> None:
    names = ["mail/b/commit.zip", "mail/b/part-1", "mail/a/part-2", "mail/a/part-10", "mailboxes/x"]
    for name in names:
        store.put(name, b"x")
    assert listed(store) == sorted(names)
    assert listed(store, "mail/") == sorted(names)[:4]
    assert listed(store, "mail/a/part-1") == ["mail/a/part-10"]
    assert listed(store, "nothing/") == []


def test_a_listing_goes_on_after_a_key(store: Store) -> None:
    names = [f"mail/{folder}/part-{n}" for folder in "abc" for n in range(3)]
    for name in names:
        store.put(name, b"x")
    for at, name in enumerate(names):
        assert listed(store, "mail/", name) == names[at + 1 :]
    assert listed(store, "mail/", "mail/b/") == names[3:]
    assert listed(store, "mail/", "mail/bb") == names[6:]
    assert listed(store, "mail/b/", "mail/a/part-0") == names[3:6]


def test_a_listing_is_dated_by_the_stores_clock(store: Store) -> None:
    store.put("part-1", b"four")
    [found] = store.list("")
    assert found.octets == 4
    assert abs(found.modified - store.now()) < timedelta(minutes=1)


def test_more_objects_than_one_answer_holds_are_listed(store: Store) -> None:
    names = [f"mail/part-{n:04}" for n in range(1_100)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: store.put(name, b"x"), names))
    assert listed(store, "mail/") == names
    store.delete(names)
    assert listed(store) == []


def test_objects_may_be_deleted_twice(store: Store) -> None:
    store.put("mail/a/part-1", b"x")
    store.put("mail/b/part-1", b"x")
    for _ in range(2):
        store.delete(["mail/a/part-1", "mail/a/part-2"])
        assert listed(store) == ["mail/b/part-1"]


def test_writing_goes_on_where_everything_was_deleted(store: Store) -> None:
    def rewrite(thread: int) -> None:
        for _ in range(10):
            store.put(f"mail/a/part-{thread}", b"x")
            store.delete([f"mail/a/part-{thread}"])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(rewrite, range(4)))
    store.put("mail/a/part-9", b"x")
    assert listed(store) == ["mail/a/part-9"]


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", ".uploads/x", "", "mail//x", "a b"])
def test_keys_that_we_never_make_are_refused_everywhere(store: Store, key: str) -> None:
    with pytest.raises(StoreRefused):
        store.create(key)
    with pytest.raises(StoreRefused):
        store.put(key, b"x")
    with pytest.raises(StoreRefused):
        content(store, key)


def test_the_clock_is_in_utc(store: Store) -> None:
    now = store.now()
    assert now.utcoffset() == timedelta()
    assert abs(now - datetime.now(UTC)) < timedelta(minutes=1)


def test_an_address_ends_with_the_key(store: Store) -> None:
    assert store.uri("mail/part-1").endswith("/mail/part-1")


def test_a_store_that_works_passes_its_probe_and_keeps_nothing_of_it(store: Store) -> None:
    probe = store.probe()
    assert probe.usable, probe
    assert abs(probe.clock_skew) < 60
    assert listed(store) == []
    assert unfinished(store) == 0


def test_a_sweep_removes_what_was_never_committed_and_nothing_else(store: Store) -> None:
    dead, committed, young = (
        str(ULID.from_datetime(store.now() + timedelta(days=days))) for days in (-9, -8, 1)
    )
    for batch in (dead, committed, young):
        write(store, keys.part(batch, 1), b"x")
    store.put(keys.commit(committed), b"x")
    with store.create(keys.part(dead, 2)) as writer:
        writer.write(octets_of(2 * BLOCK))
        writer.write(octets_of(BLOCK))
        assert sweep(store, age=timedelta(minutes=-10))[:4] == (1, 1, 1, "")
    assert listed(store, "mail/") == [
        keys.commit(committed),
        keys.part(committed, 1),
        keys.part(young, 1),
    ]
    assert unfinished(store) == 0


def test_a_writer_is_used_by_one_thread_and_committed_in_another(store: Store) -> None:
    done = threading.Event()
    with store.create(f"part-{uuid.uuid4().hex}") as writer:
        writer.write(b"x")
        writer.commit().add_done_callback(lambda _: done.set())
    assert done.wait(60)
