"""What `ingest doctor` says of the index in Redis, and of the workers."""

from __future__ import annotations

import json
from typing import Any

from ingest.bootstrap import Application
from ingest.state.presence import Presence
from tests.fakes.mail_values import mailbox
from tests.unit.cli.conftest import Ingest


def test_it_says_why_nothing_is_claimed_after_a_restart_of_redis(
    application: Application, ingest: Ingest
) -> None:
    said = "was restarted: a worker compares it with the store before it polls"
    assert said not in ingest("doctor").out
    application.redis.set("mail-ingest:run-id", "that of an earlier run")
    assert said in ingest("doctor").out


def workers(ingest: Ingest) -> dict[str, Any]:
    found = json.loads(ingest("doctor", "--json").out)
    (finding,) = [each for each in found if each["subject"] == "workers"]
    return dict(finding)


def test_workers_are_not_said_to_be_well_where_none_was_seen(
    application: Application, ingest: Ingest
) -> None:
    none = workers(ingest)
    Presence(application.redis).show()
    one = workers(ingest)

    assert none["verdict"] == "warning"
    assert none["message"] == "none was seen within the last minute; no mailbox is overdue"
    assert none["remedy"] == "run a worker and a beat: ingest worker, ingest beat"
    assert one["verdict"] == "ok"
    assert one["message"] == "no mailbox is overdue, 0 in a session"


def test_a_mailbox_that_is_overdue_is_told_whether_or_not_a_worker_was_seen(
    application: Application, ingest: Ingest
) -> None:
    application.schedule.schedule(mailbox(), -360)
    said = "1 mailbox overdue, the longest for 6 minutes"

    assert workers(ingest)["message"] == f"none was seen within the last minute; {said}"
    Presence(application.redis).show()
    assert workers(ingest)["message"] == said
