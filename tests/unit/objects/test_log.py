"""The ids of batches, which sort the log and the events."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from ingest.objects import keys
from ingest.objects.log import StoreLog
from tests.fakes.memory_store import MemoryStore


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, 3, 4, 5, 904_000, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def test_batches_sort_as_they_were_begun_also_while_the_clock_goes_back() -> None:
    clock = Clock()
    log = StoreLog(MemoryStore(clock))
    ids = [log.begin()]
    for milliseconds in (0, -904, 100, 0, 900, -20_000, 1):
        clock.now += timedelta(milliseconds=milliseconds)
        ids.append(log.begin())
    assert ids == sorted(set(ids))


def test_batches_sort_whichever_thread_begins_them() -> None:
    log = StoreLog(MemoryStore(Clock()))
    with ThreadPoolExecutor(4) as threads:
        ids = list(threads.map(lambda _: log.begin(), range(200)))
    assert len(set(map(keys.begun, ids))) == 200


def test_a_clock_that_was_wrong_for_a_moment_dates_no_batch_after_it() -> None:
    clock = Clock()
    log = StoreLog(MemoryStore(clock))
    clock.now += timedelta(days=365)
    log.begin()
    clock.now -= timedelta(days=365)
    assert keys.begun(log.begin()) == clock.now
