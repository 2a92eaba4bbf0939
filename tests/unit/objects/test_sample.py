"""Samples: as many as asked for, no two the same, spread over time, at a bounded cost."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from ulid import ULID

from ingest.objects import keys
from ingest.objects.counted import CountedStore
from ingest.objects.sample import pick, random_batches
from tests.fakes.memory_store import MemoryStore

NOW = datetime(2026, 10, 5, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def batch_of(age: timedelta) -> str:
    return str(ULID.from_datetime(NOW - age))


def log_of(ages: Iterable[timedelta], *, parts: int = 0) -> MemoryStore:
    """A log of batches of these ages, all of them committed."""
    store = MemoryStore(lambda: NOW)
    for age in ages:
        batch = batch_of(age)
        store.put(keys.commit(batch), b"")
        for number in range(parts):
            store.put(keys.part(batch, number), b"")
    return store


def drawn(store: MemoryStore, draws: int, begin: datetime | None = None) -> list[str]:
    counted = CountedStore(store)
    found = list(random_batches(counted, begin, draws, random.Random(7)))
    assert counted.requests <= draws + 1
    return found


def test_each_batch_of_a_short_log_comes_once() -> None:
    store = log_of(number * HOUR for number in range(300))
    found = drawn(store, 1)
    assert len(found) == len(set(found)) == 300
    assert found != sorted(found)


def test_an_empty_log_has_none() -> None:
    assert drawn(log_of([]), 10) == []


def test_draws_are_spread_over_the_time_of_a_long_log() -> None:
    store = log_of(30 * DAY * number / 2_000 for number in range(2_000))
    found = drawn(store, 100)
    assert len(found) == 100
    fifths = Counter((NOW - keys.begun(batch)) // (6 * DAY) for batch in found)
    assert min(fifths[fifth] for fifth in range(5)) >= 8


def test_a_long_silence_does_not_lead_to_the_same_page_over_and_over() -> None:
    busy = [HOUR * number / 1_000 for number in range(1_000)]
    store = log_of([*busy, *(age + 29 * DAY for age in busy)])
    found = drawn(store, 100)
    old = sum(NOW - keys.begun(batch) > 20 * DAY for batch in found)
    assert 25 <= old <= 75
    assert len(set(found)) > 75


def test_a_log_that_ended_long_ago_is_drawn_from_all_the_same() -> None:
    store = log_of(300 * DAY + HOUR * number / 100 for number in range(1_500))
    found = drawn(store, 60)
    assert len(found) > 40
    assert len(set(found)) > 35


def test_nothing_older_than_the_time_comes() -> None:
    store = log_of(HOUR * number / 10 for number in range(2_500))
    found = drawn(store, 40, NOW - 5 * DAY)
    assert len(found) == 40
    assert all(NOW - keys.begun(batch) <= 5 * DAY for batch in found)


def test_what_was_never_committed_does_not_come() -> None:
    store = log_of(HOUR + number * HOUR / 500 for number in range(1_500))
    orphan = batch_of(8 * HOUR)
    for number in range(2_500):
        store.put(keys.part(orphan, number), b"")
    found = drawn(store, 40)
    assert len(found) > 30
    assert orphan not in found


def test_one_of_each_batch_is_picked_before_a_second_one() -> None:
    sizes = {"A": 100, "B": 1, "C": 50}
    picked = list(pick("ABC", lambda batch: list(range(sizes[batch])), 20, random.Random(7)))
    assert len(picked) == len(set(picked)) == 20
    assert {batch for batch, _ in picked[:3]} == {"A", "B", "C"}
    assert all(position in range(sizes[batch]) for batch, position in picked)


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (5, 5), (151, 151), (1_000, 151)])
def test_as_many_are_picked_as_asked_for_or_as_there_are(count: int, expected: int) -> None:
    sizes = {"A": 100, "B": 1, "C": 50}
    picked = list(pick("ABC", lambda batch: list(range(sizes[batch])), count, random.Random(7)))
    assert len(picked) == len(set(picked)) == expected


def test_a_batch_that_comes_again_gives_another_one_and_is_looked_into_once() -> None:
    looked: list[str] = []

    def positions(batch: str) -> list[int]:
        looked.append(batch)
        return [0, 1, 2]

    picked = list(pick("AAAAAB", positions, 4, random.Random(7)))
    assert sorted(picked) == [("A", 0), ("A", 1), ("A", 2), ("B", picked[-1][1])]
    assert looked == ["A", "B"]


def test_no_batch_has_one_that_is_wanted() -> None:
    assert list(pick("ABC", lambda _: [], 5, random.Random(7))) == []
