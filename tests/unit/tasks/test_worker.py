"""What a worker says of the fleet, of itself and of its tasks."""

from __future__ import annotations

import pytest
from celery import signals

from ingest.errors import StateUnavailable
from ingest.observability import metrics
from ingest.tasks import tasks
from ingest.tasks.worker import Worker


def said() -> set[str]:
    lines = metrics.exposition().decode().splitlines()
    return {line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")}


@pytest.mark.usefixtures("worker")
def test_a_tick_lets_the_worker_say_how_the_fleet_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics.fleet, "_observed_at", float("-inf"))
    assert "mail_ingest_due_lag_seconds" not in said()
    tasks.tick()
    assert {
        "mail_ingest_due_lag_seconds",
        "mail_ingest_mailboxes_scheduled",
        "mail_ingest_mailboxes_due",
        "mail_ingest_mailboxes_leased",
        "mail_ingest_outbox_depth",
        "mail_ingest_outbox_age_seconds",
        "mail_ingest_deletes_braked",
    } <= said()


def test_a_worker_says_how_long_it_has_been_idle_and_how_often_it_polls(worker: Worker) -> None:
    worker.heartbeat._last -= 30
    age = metrics.registry.get_sample_value("mail_ingest_heartbeat_age_seconds")
    assert age is not None
    assert 30 <= age < 60
    assert metrics.registry.get_sample_value("mail_ingest_poll_interval_seconds") == 1


def test_a_task_that_fails_is_counted_by_its_name_and_its_error() -> None:
    def counted() -> tuple[float | None, float | None]:
        sample = metrics.registry.get_sample_value
        return (
            sample("mail_ingest_task_failures_total", {"task": "relay"}),
            sample("mail_ingest_errors_total", {"code": "state_unavailable"}),
        )

    failures, errors = counted()
    signals.task_failure.send(sender=tasks.relay, exception=StateUnavailable("away"))
    assert counted() == ((failures or 0) + 1, (errors or 0) + 1)
