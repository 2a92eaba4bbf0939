"""How soon a batch that Redis never heard of is found, and what looking for it costs."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from ulid import ULID

from ingest.objects import keys
from ingest.objects.counted import CountedStore
from ingest.objects.log import StoreLog
from ingest.observability import metrics
from ingest.state.readback import ReadBack
from ingest.tasks import tasks
from ingest.tasks.app import TURNS
from ingest.tasks.worker import Worker
from tests.fakes.mail_values import record
from tests.fakes.memory_store import MemoryStore
from tests.servers.valkey import Valkey

EVERY = timedelta(seconds=TURNS["read_back"])
HOURS_COMPARED = 8  # seven, and the part of one in which the oldest begin


class Log:
    """A log whose clock goes on when it is told to."""

    def __init__(self, worker: Worker) -> None:
        self.now = datetime.now(UTC)
        memory = MemoryStore(lambda: self.now)
        self.store = CountedStore(memory)
        self.log = StoreLog(self.store)
        old = worker.application
        read_back = ReadBack(old.redis, old.store, self.log, spread_seconds=30)
        worker.application = dataclasses.replace(
            old, store=memory, log=self.log, read_back=read_back
        )

    def commit(self, begun_at: datetime) -> str:
        """A batch whose worker dies right after its commit."""
        batch = str(ULID.from_datetime(begun_at))
        self.log.commit(batch, [(record(batch, unique_id=batch, batch=batch), b"")])
        return batch


@pytest.fixture
def log(worker: Worker) -> Log:
    return Log(worker)


@pytest.mark.parametrize("lost", [0, 9])  # hints in a row that nobody gets
@pytest.mark.parametrize("took", [0, 9, 70, 359])  # minutes from its begin to its commit
def test_a_batch_that_redis_never_heard_of_is_found_within_the_hour(
    worker: Worker, log: Log, took: int, lost: int
) -> None:
    begun_at = log.now
    tasks.read_back()
    log.now += timedelta(minutes=took, seconds=1)
    committed_at, batch = log.now, log.commit(begun_at)
    while worker.application.ledger.unknown_batches([batch]):
        assert log.now <= committed_at + timedelta(hours=1)
        tasks.read_back()
        log.now += EVERY * (lost + 1)
    assert worker.application.outbox.depth() == 1


def test_a_batch_is_found_by_the_first_look_of_all_however_old_it_is(
    worker: Worker, log: Log
) -> None:
    batch = log.commit(log.now)
    log.now += timedelta(days=16)
    tasks.read_back()
    assert not worker.application.ledger.unknown_batches([batch])


def test_a_batch_is_found_though_no_worker_ran_for_days_after_its_commit(
    worker: Worker, log: Log
) -> None:
    begun_at = log.now
    tasks.read_back()
    log.now += timedelta(hours=5)
    batch = log.commit(begun_at)
    log.now += timedelta(days=3)
    tasks.read_back()
    assert not worker.application.ledger.unknown_batches([batch])


def test_while_another_worker_reads_back_nothing_is_asked_of_the_store_besides(
    worker: Worker, log: Log
) -> None:
    application = worker.application
    tasks.read_back()
    batch = log.commit(log.now)
    log.now += timedelta(hours=1)
    application.checkpoints.withdraw()
    application.redis.set("mail-ingest:read-back", "another worker's")
    log.store.requests = 0
    tasks.read_back()
    assert log.store.requests == 0
    application.redis.delete("mail-ingest:read-back")
    tasks.read_back()
    assert not application.ledger.unknown_batches([batch])


def test_a_restarted_redis_is_compared_at_once_with_the_youngest_batches_too(
    worker: Worker, log: Log, valkey: Valkey
) -> None:
    tasks.read_back()
    batch = log.commit(log.now)
    tasks.read_back()
    assert worker.application.ledger.unknown_batches([batch])  # it may be on its way to the ledger
    valkey.restart()
    tasks.read_back()
    assert not worker.application.ledger.unknown_batches([batch])


@pytest.mark.parametrize("sink", ["is done", "has stood still for a month"])
def test_looking_costs_what_the_hours_compared_have_and_nothing_for_the_log_before(
    worker: Worker, log: Log, sink: str
) -> None:
    for hours in range(1, 31 * 24):
        log.commit(log.now - timedelta(hours=hours, minutes=30))
    if sink != "is done":
        month_ago = int((log.now - timedelta(days=30)).timestamp()) * 1000
        event: dict[str, str] = {"id": "a", "type": "t", "mailbox": "m", "json": "{}"}
        worker.application.redis.xadd("mail-ingest:outbox", event, id=f"{month_ago}-0")  # type: ignore[arg-type]  # theirs is invariant
    tasks.read_back()
    log.store.requests = log.store.listed = 0
    log.now += EVERY
    tasks.read_back()
    assert log.store.listed <= HOURS_COMPARED
    assert log.store.requests == 1


@pytest.mark.parametrize("lost", ["a batch", "everything"])
def test_a_damaged_commit_object_holds_up_no_other(
    worker: Worker, tmp_path: Path, lost: str
) -> None:
    application, now = worker.application, datetime.now(UTC)
    batches = [str(ULID.from_datetime(now - timedelta(hours=hours))) for hours in (3, 2, 1)]
    for batch in batches:
        application.log.commit(batch, [(record(batch, unique_id=batch, batch=batch), b"")])
    path = tmp_path / "store" / keys.commit(batches[1])
    path.write_bytes(path.read_bytes()[:-1])
    if lost == "everything":
        application.redis.flushall()
    damaged = metrics.errors.labels("proof")._value
    before = damaged.get()
    with capture_logs() as logs:
        tasks.read_back()
    assert damaged.get() > before
    assert application.ledger.unknown_batches(batches) == [batches[1]]
    assert application.checkpoints.epoch()
    assert {each["batch"] for each in logs if each["log_level"] == "error"} == {batches[1]}
