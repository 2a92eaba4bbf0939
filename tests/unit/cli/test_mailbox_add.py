"""What `mailbox add` says in the end."""

from __future__ import annotations

from ingest.bootstrap import Application
from ingest.cli.application import starts_workers
from ingest.settings import Settings
from ingest.state.presence import Presence
from tests.unit.cli.conftest import Ingest

REFERENCE = ("--password-ref", "env:PASSWORD", "--no-test", "--yes")


def test_where_no_worker_was_seen_it_says_what_starts_one_with_these_settings(
    application: Application, ingest: Ingest
) -> None:
    alone = ingest("mailbox", "add", "a", "pop3s://a@pop.example", *REFERENCE)
    Presence(application.redis).show()
    seen = ingest("mailbox", "add", "b", "pop3s://b@pop.example", *REFERENCE)

    said = "is polled from now on by every worker"
    hint = "none was seen within the last minute: run ingest worker, ingest beat"
    assert alone.out == f"a {said}; {hint}\n"
    assert seen.out == f"b {said}\n"


def test_up_brings_what_a_fleet_runs_apart() -> None:
    fleet = Settings(redis_url="redis://redis.example", store="s3://bucket")
    assert starts_workers(Settings()) == "ingest up"
    assert starts_workers(fleet) == "ingest worker, ingest beat"
