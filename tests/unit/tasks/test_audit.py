"""The scheduled audit: a bounded sample of what is new, an alarm, and the brake."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ingest.bootstrap import Application
from ingest.errors import StoreUnavailable
from ingest.model import Record
from ingest.objects import keys, spot_check
from ingest.observability import metrics
from ingest.tasks import tasks
from ingest.tasks.worker import Worker
from tests import messages
from tests.fakes.ingested import ingest_messages
from tests.fakes.mail_values import mailbox


@pytest.fixture
def application(worker: Worker) -> Application:
    worker.application.registry.add(mailbox())
    return worker.application


def ingested(application: Application, *octets: bytes, seconds_ago: int = 60) -> list[Record]:
    """One batch, taken into the ledger then."""
    records = ingest_messages(application, octets)
    taken_in = int(time.time()) - seconds_ago
    application.redis.zadd("mail-ingest:batches", {records[0].batch: taken_in})
    return records


def audited() -> dict[str, float]:
    """What the audit counts, by outcome."""
    outcomes = ("proven", "damaged", "missing", "unreadable")
    return {outcome: metrics.audited.labels(outcome)._value.get() for outcome in outcomes}


def audit() -> dict[str, float]:
    """What one audit found."""
    before = audited()
    tasks.audit()
    found = {outcome: after - before[outcome] for outcome, after in audited().items()}
    return {outcome: number for outcome, number in found.items() if number}


def test_what_was_committed_since_the_last_audit_is_proven_once(application: Application) -> None:
    for seed in range(3):
        ingested(application, messages.small(seed).octets, messages.small(100 + seed).octets)
    assert audit() == {"proven": 6}
    assert audit() == {}
    ingested(application, messages.small(9).octets, seconds_ago=0)
    time.sleep(2.1)
    assert audit() == {"proven": 1}
    assert application.brake.reason() == ""


def test_what_is_dated_now_waits_for_the_next_audit(application: Application) -> None:
    ingested(application, messages.small(1).octets, seconds_ago=-5)
    assert audit() == {}


def test_the_sample_is_bounded_and_at_random(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_AUDITED", 5)
    for seed in range(12):
        ingested(application, messages.small(seed).octets, messages.small(100 + seed).octets)
    drawn = [application.audits.unaudited(5, random.Random(seed)).batches for seed in range(20)]
    assert all(len(set(batches)) == 5 for batches in drawn)
    assert len(set(map(tuple, drawn))) > 10
    assert audit() == {"proven": 5}
    assert audit() == {}


def test_octets_bound_it_too(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spot_check, "_MOST_OCTETS", 10_000)
    for seed in range(20):
        ingested(application, messages.small(seed).octets)
    assert 2 <= audit()["proven"] <= 6


def test_damage_is_an_error_in_the_log_a_count_and_pulls_the_brake(
    application: Application, tmp_path: Path
) -> None:
    _, attached = ingested(
        application, messages.small(1).octets, messages.with_attachment(2, 3_000).octets
    )
    [key] = [part.key for part in attached.parts if part.key]
    path = tmp_path / "store" / key
    path.write_bytes(path.read_bytes()[::-1])
    errors = metrics.errors.labels("proof")._value
    before = errors.get()
    with capture_logs() as logs:
        assert audit() == {"proven": 1, "damaged": 1}
    assert errors.get() == before + 1
    [told, braked] = [entry for entry in logs if entry["log_level"] == "error"]
    assert (told["event"], told["mailbox"], told["record"]) == (
        "message_not_proven",
        "mb-a",
        attached.id,
    )
    assert (told["object"], told["outcome"]) == (key, "damaged")
    assert braked["event"] == "deletes_braked"
    assert application.brake.reason().startswith(f"audit: {key} has other octets")


def test_a_commit_object_that_is_gone_is_noticed_though_no_listing_shows_it(
    application: Application, tmp_path: Path
) -> None:
    [gone] = ingested(application, messages.small(1).octets)
    (tmp_path / "store" / keys.commit(gone.batch)).unlink()
    assert audit() == {"missing": 1}
    assert application.brake.reason() == f"audit: {keys.commit(gone.batch)} is not in the store"


def test_an_audit_that_is_stopped_or_fails_is_done_again(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingested(application, messages.small(1).octets)
    with monkeypatch.context() as failing:
        failing.setattr(spot_check, "examine", unavailable)
        with pytest.raises(StoreUnavailable):
            tasks.audit()
    with monkeypatch.context() as closing:
        closing.setattr(type(application.shutdown), "closing", property(lambda _: True))
        assert audit() == {}
    assert audit() == {"proven": 1}


def unavailable(*_: object) -> None:
    raise StoreUnavailable("down")


def test_a_long_audit_shows_that_the_worker_is_alive(
    worker: Worker, application: Application
) -> None:
    ingested(application, messages.small(1).octets)
    worker.heartbeat._last -= 1000
    tasks.audit()
    assert not worker.heartbeat.complaint()
