"""What the hourly sweep costs: what is new, not the whole log."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from structlog.testing import capture_logs
from ulid import ULID

from ingest.objects import keys
from ingest.objects.counted import CountedStore
from ingest.objects.probe import Store
from ingest.objects.sweep import Swept
from ingest.tasks import tasks
from ingest.tasks.worker import Worker
from tests.fakes.mail_values import record
from tests.fakes.memory_store import MemoryStore


def test_a_sweep_lists_nothing_again_that_an_earlier_one_has_settled(worker: Worker) -> None:
    now = [datetime(2026, 1, 31, tzinfo=UTC)]
    store = CountedStore(MemoryStore(lambda: now[0]))
    worker.application = dataclasses.replace(worker.application, store=cast(Store, store))
    for days in range(1, 31):
        batch = str(ULID.from_datetime(now[0] - timedelta(days=days)))
        store.put(keys.commit(batch), b"x")
    tasks.sweep()
    store.listed = 0
    now[0] += timedelta(hours=1)
    tasks.sweep()
    assert store.listed <= 2
    now[0] += timedelta(days=10)
    tasks.sweep()
    store.listed = 0
    tasks.sweep()
    assert store.listed == 0


def test_a_sweep_of_several_calls_remembers_no_place_behind_one_that_waits(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [
        Swept(0, 0, 0, "mail/c", "mail/b"),
        Swept(0, 0, 0, "mail/e", "mail/e"),
        Swept(0, 0, 0, "", "mail/f"),
    ]
    asked: list[str] = []

    def answer(_: object, after: str) -> Swept:
        asked.append(after)
        return answers[len(asked) - 1]

    monkeypatch.setattr(tasks, "sweep_store", answer)
    tasks.sweep()
    assert asked == ["", "mail/c", "mail/e"]
    assert worker.application.sweep_cursor.read() == "mail/b"


def test_a_sweep_forgets_what_redis_has_of_a_mailbox_that_is_no_more(worker: Worker) -> None:
    application = worker.application
    application.ledger.restore("batch", [record("one", unique_id="u1")])
    with capture_logs() as logs:
        tasks.sweep()
    assert application.ledger.known("mb-a", ["u1"]) == {}
    assert {"event": "orphans_dropped", "log_level": "info", "keys": 3} in logs
