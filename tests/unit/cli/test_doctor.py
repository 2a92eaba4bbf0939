"""What `ingest doctor` says of the index in Redis."""

from __future__ import annotations

from ingest.bootstrap import Application
from tests.unit.cli.conftest import Ingest


def test_it_says_why_nothing_is_claimed_after_a_restart_of_redis(
    application: Application, ingest: Ingest
) -> None:
    said = "was restarted: a worker compares it with the store before it polls"
    assert said not in ingest("doctor").out
    application.redis.set("mail-ingest:run-id", "that of an earlier run")
    assert said in ingest("doctor").out
