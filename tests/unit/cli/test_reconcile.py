"""What comes back from the log, what does not, and what it costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ulid import ULID

from ingest.bootstrap import Application
from ingest.model import Record
from ingest.objects import keys
from ingest.state.checkpoint import MARGIN
from tests.fakes.mail_values import commitment, mailbox, record
from tests.unit.cli.conftest import Ingest

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


def commit(application: Application, age: timedelta, *octets: str, of: str = "mb-a") -> str:
    """A batch of that age in the log, of messages whose unique-ids are their octets."""
    batch = str(ULID.from_datetime(NOW - age))
    records: list[tuple[Record, bytes]] = [
        (record(each, mailbox_id=of, unique_id=each, batch=batch, index=index), each.encode())
        for index, each in enumerate(octets)
    ]
    application.log.commit(batch, records)
    return batch


def known(application: Application, *octets: str) -> set[str]:
    return set(application.ledger.known("mb-a", octets))


def events(application: Application) -> list[str]:
    read = application.outbox.read(1000)
    application.outbox.acknowledge([event.entry for event in read])
    return [event.id for event in read]


def test_an_emptied_redis_knows_everything_again_and_the_second_time_nothing_is_new(
    application: Application, ingest: Ingest
) -> None:
    application.registry.add(mailbox())
    commit(application, 30 * HOUR, "one", "two")
    commit(application, HOUR, "three")
    application.redis.flushall()
    (first,) = ingest("reconcile", "--json").json
    assert (first["batches"], first["records"], first["events"]) == (2, 3, 3)
    assert known(application, "one", "two", "three") == {"one", "two", "three"}
    assert events(application) == [record(each).events[0].id for each in ("one", "two", "three")]
    assert [each.id for each in application.registry.list()] == ["mb-a"]
    assert application.checkpoints.epoch()
    (second,) = ingest("reconcile", "--json").json
    assert (second["records"], second["events"]) == (3, 0)
    assert events(application) == []


def test_only_what_was_begun_since_the_time_is_read_and_what_may_have_been_committed_later(
    application: Application, ingest: Ingest
) -> None:
    for hours in (1, 20, 29, 40):
        commit(application, hours * HOUR, str(hours))
    (done,) = ingest("reconcile", "--since", "1d", "--json").json
    assert known(application, "1", "20", "29", "40") == {"1", "20", "29"}
    assert (done["batches"], done["objects"]) == (3, 3)


def test_events_that_every_sink_has_are_not_put_again(
    application: Application, ingest: Ingest
) -> None:
    for name in "ab":
        application.registry.add(mailbox(name))
    commit(application, 48 * HOUR, "old")
    commit(application, 48 * HOUR, "of the other", of="mb-b")
    commit(application, 48 * HOUR, "of one that was removed", of="mb-c")
    commit(application, HOUR, "new")
    application.checkpoints.write(NOW, application.checkpoints.look())
    assert NOW - 48 * HOUR < NOW - MARGIN < NOW - HOUR
    (done,) = ingest("reconcile", "--json").json
    assert done["events"] == 1
    assert events(application) == [record("new").events[0].id]
    assert known(application, "old", "new") == {"old", "new"}
    assert application.ledger.known("mb-b", ["of the other"])
    assert not application.redis.exists("mail-ingest:entries:mb-c")


def test_since_a_time_events_are_put_again_of_messages_that_redis_does_not_know(
    application: Application, ingest: Ingest, home: Path
) -> None:
    application.registry.add(mailbox())
    commit(application, 48 * HOUR, "known")
    damaged = commit(application, 47 * HOUR, "damaged")
    commit(application, 47 * HOUR, "of one that was removed", of="mb-c")
    path = home / "store" / keys.commit(damaged)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    application.checkpoints.write(NOW, application.checkpoints.look())
    assert ingest("reconcile").code == 7
    path.write_bytes(whole)
    (done,) = ingest("reconcile", "--since", "3d", "--json").json
    assert (done["records"], done["events"]) == (3, 1)
    assert events(application) == [record("damaged").events[0].id]
    assert not application.redis.exists("mail-ingest:entries:mb-c")


def test_a_checkpoint_claims_nothing_of_an_old_batch_before_the_sink_has_its_events(
    application: Application, ingest: Ingest
) -> None:
    application.redis.delete("mail-ingest:held")
    commit(application, 48 * HOUR, "old")
    ingest("reconcile")
    assert (early := application.checkpoints.write(NOW, application.checkpoints.look()))
    assert early.before is None
    events(application)
    assert (late := application.checkpoints.write(NOW, application.checkpoints.look()))
    assert late.before == NOW - MARGIN


def test_what_redis_knows_better_stays(application: Application, ingest: Ingest) -> None:
    application.registry.add(mailbox())
    commit(application, HOUR, "one")
    ingest("reconcile")
    lease = application.schedule.claim_mailbox(mailbox(), 60)
    assert lease
    application.ledger.settle(lease, ["one"])
    assert ingest("reconcile").code == 0
    assert application.ledger.known("mb-a", ["one"])["one"].deleted


def test_a_batch_on_its_way_into_the_ledger_is_published_once(
    application: Application, ingest: Ingest
) -> None:
    application.registry.add(mailbox())
    batch = commit(application, HOUR, "one")
    lease = application.schedule.claim_mailbox(mailbox(), 60)
    assert lease
    assert ingest("reconcile", "--json").json[0]["events"] == 1
    assert application.ledger.commit(lease, [commitment("one", "one", batch)]) == 0
    assert len(events(application)) == 1


def test_the_cost_is_measured_and_projected_to_a_day(
    application: Application, ingest: Ingest
) -> None:
    for hours in range(1, 5):
        commit(application, hours * HOUR, *(f"{hours}-{each}" for each in range(50)))
    (done,) = ingest("reconcile", "--json").json
    assert (done["objects"], done["requests"]) == (4, 1 + 4 * 2)  # LIST; HEAD and GET
    assert done["projected"]["messages"] == 10_000_000
    assert done["projected"]["requests"] == 10_000_000 * 9 / 200
    assert done["projected"]["seconds"] == pytest.approx(done["seconds"] * 50_000, abs=100)
    told = ingest("reconcile").out
    assert "4 batches, 200 records (the whole log)" in told
    assert "450,000 requests and " in told


def test_an_empty_log_projects_nothing(application: Application, ingest: Ingest) -> None:
    del application
    done = ingest("reconcile")
    assert done.code == 0
    assert "0 records" in done.out
    assert "projected" not in done.out


def test_a_damaged_commit_object_is_named_and_the_others_are_read(
    application: Application, ingest: Ingest, home: Path
) -> None:
    damaged = commit(application, 2 * HOUR, "one")
    commit(application, HOUR, "two")
    path = home / "store" / keys.commit(damaged)
    path.write_bytes(path.read_bytes()[:-1])
    done = ingest("reconcile")
    assert done.code == 7
    assert keys.commit(damaged) in done.err
    assert "1 commit object can't be read" in done.err
    assert known(application, "one", "two") == {"two"}
