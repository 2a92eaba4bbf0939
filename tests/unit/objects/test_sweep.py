from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from ulid import ULID

from ingest.errors import StoreUnavailable
from ingest.objects import keys
from ingest.objects.sweep import sweep
from tests.fakes.memory_store import MemoryStore

NOW = datetime(2020, 6, 1, 7, tzinfo=UTC)  # by the store's clock; a worker's is years ahead
OLD = timedelta(days=8)
YOUNG = timedelta(days=6)


class Clock:
    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock)


def batch_of(age: timedelta) -> str:
    return str(ULID.from_datetime(NOW - age))


def write(
    store: MemoryStore, clock: Clock, batch: str, names: str, written: timedelta | None = None
) -> list[str]:
    """Objects of a batch, dated as the batch unless said otherwise."""
    now = clock.time
    clock.time = keys.begun(batch) if written is None else NOW - written
    made = [f"{keys.batch_prefix(batch)}{name}" for name in names.split()]
    for key in made:
        store.put(key, b"x")
    clock.time = now
    return made


def test_an_old_batch_that_was_never_committed_is_removed(store: MemoryStore, clock: Clock) -> None:
    write(store, clock, batch_of(OLD), "part-1 part-2")
    assert sweep(store)[:4] == (1, 2, 0, "")
    assert store.objects == {}


def test_a_committed_batch_is_never_touched(store: MemoryStore, clock: Clock) -> None:
    write(store, clock, batch_of(OLD), "part-1 part-2 commit.zip")
    assert sweep(store)[:4] == (0, 0, 0, "")
    assert len(store.objects) == 3


def test_a_batch_that_may_still_be_committed_is_left(store: MemoryStore, clock: Clock) -> None:
    write(store, clock, batch_of(YOUNG), "part-1")
    assert sweep(store).batches == 0


def test_a_worker_whose_clock_is_wrong_loses_nothing(store: MemoryStore, clock: Clock) -> None:
    write(store, clock, batch_of(OLD), "part-1")
    write(store, clock, batch_of(OLD), "part-1", written=timedelta(hours=1))
    assert sweep(store).batches == 1
    assert len(store.objects) == 1


def test_one_young_part_saves_its_batch(store: MemoryStore, clock: Clock) -> None:
    batch = batch_of(OLD)
    write(store, clock, batch, "part-1")
    write(store, clock, batch, "part-2", written=timedelta(hours=1))
    assert sweep(store).objects == 0


def test_a_commit_object_that_the_listing_misses_saves_its_batch(
    store: MemoryStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, clock, batch_of(OLD), "part-1 commit.zip")
    real = store.list
    monkeypatch.setattr(
        store,
        "list",
        lambda prefix, after="": (o for o in real(prefix, after) if "commit" not in o.key),
    )
    assert sweep(store).batches == 0


def test_a_store_that_can_not_say_whether_a_batch_was_committed_stops_the_sweep(
    store: MemoryStore, clock: Clock
) -> None:
    write(store, clock, batch_of(OLD), "part-1")
    store.fail("size", StoreUnavailable("down"))
    with pytest.raises(StoreUnavailable):
        sweep(store)
    assert len(store.objects) == 1


def test_what_belongs_to_no_batch_is_left(store: MemoryStore, clock: Clock) -> None:
    clock.time = NOW - OLD
    store.put("mail/2026/01/01/00/notes", b"x")
    store.put("checkpoint.json", b"x")
    clock.time = NOW
    assert sweep(store)[:4] == (0, 0, 0, "")
    assert len(store.objects) == 2


def test_a_sweep_stops_at_its_limit_and_goes_on_from_there(
    store: MemoryStore, clock: Clock
) -> None:
    for day in range(8, 13):
        write(store, clock, batch_of(timedelta(days=day)), "part-1 part-2")
    first = sweep(store, objects=4)
    assert (first.batches, first.objects) == (2, 4)
    assert first.after
    second = sweep(store, first.after, objects=4)
    assert (second.batches, second.after != "") == (2, True)
    assert sweep(store, second.after, objects=4)[:4] == (1, 2, 0, "")
    assert store.objects == {}


def test_what_a_sweep_has_settled_needs_no_other_look(store: MemoryStore, clock: Clock) -> None:
    days = {day: batch_of(timedelta(days=day)) for day in (12, 11, 10, 9, 3)}
    write(store, clock, days[12], "part-1 commit.zip")
    write(store, clock, days[11], "part-1")
    [waits] = write(store, clock, days[10], "part-1", written=YOUNG)
    write(store, clock, days[9], "part-1")
    write(store, clock, days[3], "part-1")
    first = sweep(store)
    assert (first.batches, first.settled) == (2, keys.part(days[11], 1))
    assert sweep(store, first.settled).settled == first.settled
    clock.time += timedelta(days=2)
    second = sweep(store, first.settled)
    assert (second.batches, second.settled) == (1, waits)
    assert sweep(store, second.settled).settled == waits


def test_a_sweep_that_broke_may_be_repeated(store: MemoryStore, clock: Clock) -> None:
    write(store, clock, batch_of(OLD), "part-1 part-2 part-3")
    store.fail("delete", StoreUnavailable("down"), nth=2)
    with pytest.raises(StoreUnavailable):
        sweep(store)
    assert sweep(store)[:4] == (1, 2, 0, "")


def test_old_unfinished_uploads_are_aborted(store: MemoryStore, clock: Clock) -> None:
    clock.time = NOW - OLD
    store.create("part-1")
    clock.time = NOW - YOUNG
    store.create("part-2")
    clock.time = NOW
    assert sweep(store).uploads == 1
    assert [writer.key for writer in store.uploads] == ["part-2"]
