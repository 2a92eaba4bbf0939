from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec
import pytest
import typer
from ulid import ULID

from ingest.cli import history
from ingest.errors import IngestError
from ingest.model import Record
from ingest.objects.ahead import ahead
from ingest.objects.log import StoreLog
from tests.fakes.mail_values import record
from tests.fakes.memory_store import MemoryStore

NOW = datetime(2026, 10, 5, 12, 30, tzinfo=UTC)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(clock=lambda: NOW)


def commit(store: MemoryStore, age: timedelta, *contents: str) -> list[Record]:
    """One batch of that age."""
    batch = str(ULID.from_datetime(NOW - age))
    records = [
        msgspec.structs.replace(
            record(content, batch=batch, retrieved_at=NOW - age), index=position
        )
        for position, content in enumerate(contents)
    ]
    StoreLog(store).commit(
        batch, [(each, content.encode()) for each, content in zip(records, contents, strict=True)]
    )
    return records


def contents(store: MemoryStore, back: timedelta) -> list[int]:
    return [each.octets for each in history.records(store, NOW - back)]


def test_records_come_newest_first_over_hours_days_months_and_years(store: MemoryStore) -> None:
    ages = [0.1, 1, 23, 30, 47, 49, 60, 100, 24 * 40, 24 * 300]
    for size, age in enumerate(ages, 1):
        commit(store, timedelta(hours=age), "x" * size)

    assert contents(store, timedelta(days=365)) == list(range(1, len(ages) + 1))


def test_within_a_batch_the_last_message_is_the_newest(store: MemoryStore) -> None:
    commit(store, timedelta(hours=1), "x", "xx", "xxx")

    assert contents(store, timedelta(days=1)) == [3, 2, 1]


def test_what_was_retrieved_before_the_time_is_left_out(store: MemoryStore) -> None:
    commit(store, timedelta(hours=3), "old")
    commit(store, timedelta(hours=1), "recent")

    assert contents(store, timedelta(hours=2)) == [6]


def test_a_batch_begun_before_the_time_may_hold_messages_from_after_it(store: MemoryStore) -> None:
    batch = str(ULID.from_datetime(NOW - timedelta(hours=4)))
    late = record("late", batch=batch, retrieved_at=NOW - timedelta(hours=1))
    StoreLog(store).commit(batch, [(late, b"late")])

    assert contents(store, timedelta(hours=2)) == [4]


def test_a_batch_without_commit_object_is_no_message(store: MemoryStore) -> None:
    (committed,) = commit(store, timedelta(hours=1), "x")
    other = str(ULID.from_datetime(NOW))
    with StoreLog(store).create_part(other, 1) as part:
        part.write(b"part")
        part.commit().result()

    assert [each.id for each in history.records(store, NOW - timedelta(days=1))] == [committed.id]


def test_few_listings_reach_far_back(store: MemoryStore) -> None:
    list(history.records(store, NOW - timedelta(days=30)))

    assert len([entry for entry in store.journal if entry[0] == "list"]) < 120


def test_silent_months_and_years_cost_a_listing_each_and_hide_nothing(store: MemoryStore) -> None:
    days = [1, 40, 279, 300, 3500, 3653]  # the third: 2025-12-30; the fourth: 2025-12-09
    for size, age in enumerate(days, 1):
        commit(store, timedelta(days=age), "x" * size)
    store.journal.clear()

    assert contents(store, timedelta(days=3660)) == list(range(1, len(days) + 1))
    assert len([entry for entry in store.journal if entry[0] == "list"]) < 350


@pytest.mark.parametrize("day", ["2026-01-01", "2025-12-31", "2025-03-01", "2024-02-29"])
@pytest.mark.parametrize("hour", ["00", "23"])
def test_the_ends_of_silent_months_and_years_are_looked_at(
    store: MemoryStore, day: str, hour: str
) -> None:
    commit(store, NOW - datetime.fromisoformat(f"{day}T{hour}:00:00+00:00"), "alone")

    assert contents(store, timedelta(days=1500)) == [5]


def test_a_long_way_back_is_read_ahead_in_order_and_shown(store: MemoryStore) -> None:
    for hours in range(1, 41):
        commit(store, timedelta(hours=hours), "x" * hours)
    told: list[float] = []

    with ThreadPoolExecutor(4) as pool:
        found = history.records(
            store,
            NOW - timedelta(hours=41),
            ahead=partial(ahead, pool),
            show=lambda fraction, _: told.append(fraction),
        )
        first = next(found)
        read = [entry for entry in store.journal if entry[0] == "read"]
        octets = [first.octets, *(each.octets for each in found)]

    assert len({key for _, key in read}) > 1
    assert octets == list(range(1, 41))
    assert told == sorted(told)
    assert told[0] < 0.1
    assert told[-1] > 0.9


def test_a_message_is_found_by_its_id_by_its_beginning_and_by_its_dataref(
    store: MemoryStore,
) -> None:
    commit(store, timedelta(hours=5), "one", "two")
    (_, wanted) = commit(store, timedelta(hours=1), "three", "four")
    begin = NOW - timedelta(days=1)

    assert history.find(store, wanted.id, begin) == wanted
    assert history.find(store, wanted.id[:8].upper(), begin) == wanted
    dataref = StoreLog(store).record_uri(wanted.batch, wanted.index)
    assert history.find(store, dataref, NOW) == wanted


def test_a_message_that_was_committed_twice_is_found_once(store: MemoryStore) -> None:
    commit(store, timedelta(hours=5), "same")
    (newest,) = commit(store, timedelta(hours=1), "same")

    assert history.find(store, newest.id[:10], NOW - timedelta(days=1)) == newest


def test_a_beginning_of_several_ids_is_refused(store: MemoryStore) -> None:
    (first,) = commit(store, timedelta(hours=1), "one")
    twin = msgspec.structs.replace(first, id=first.id[:8] + "f" * 24, index=1)
    batch = str(ULID.from_datetime(NOW))
    StoreLog(store).commit(batch, [(msgspec.structs.replace(twin, batch=batch, index=0), b"one")])

    with pytest.raises(typer.BadParameter, match="2 ids begin with"):
        history.find(store, first.id[:8], NOW - timedelta(days=1))


def test_an_id_that_is_not_there_says_how_to_look_further(store: MemoryStore) -> None:
    batch = str(ULID.from_datetime(NOW))
    for message in ("abcdef12", f"file:///x/{batch}/commit.zip#0/record.json"):
        with pytest.raises(IngestError) as caught:
            history.find(store, message, NOW - timedelta(days=1))
        assert caught.value.exit_code == 1
        assert "--since" in caught.value.remedy


def test_too_little_of_an_id_is_refused_before_anything_is_read(store: MemoryStore) -> None:
    with pytest.raises(typer.BadParameter, match="at least 6"):
        history.find(store, "abc", NOW)
    assert store.journal == []


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("2h", 7200), ("7d", 604800), ("2w", 1209600)]
)
def test_a_span_reaches_back_from_now(text: str, seconds: int) -> None:
    span = timedelta(seconds=seconds)
    earliest = datetime.now(UTC) - span

    assert earliest <= history.since(text) <= datetime.now(UTC) - span


def test_nothing_is_older_than_the_ids_of_batches(store: MemoryStore) -> None:
    begin = history.since("0001-01-02")
    assert begin == history.since("9000w") == datetime(1970, 1, 1, tzinfo=UTC)
    assert list(history.records(store, begin)) == []


def test_a_date_is_a_time() -> None:
    assert history.since("2026-10-05T08:00+00:00") == datetime(2026, 10, 5, 8, tzinfo=UTC)
    assert history.since("2026-10-05").astimezone().strftime("%Y-%m-%d %H:%M") == "2026-10-05 00:00"


@pytest.mark.parametrize("text", ["", "yesterday", "7", "7y", "-1d", "999999w", "2026-13-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        history.since(text)
