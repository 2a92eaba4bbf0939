"""What Celery is told, and how long its messages are believed."""

from __future__ import annotations

import json
from contextlib import closing

from celery import Celery
from kombu.transport.redis import Transport

from ingest.settings import Settings
from ingest.tasks.app import Hinted, configuration
from ingest.tasks.worker import _HEARTBEAT_SECONDS as HEARTBEAT_SECONDS

CLOCKS_DIFFER = 25  # seconds


def test_no_hint_of_beat_is_over_for_a_worker_whose_clock_is_ahead() -> None:
    schedule = configuration(Settings(redis_url="redis://localhost"))["beat_schedule"]
    tasks = {entry["task"] for entry in schedule.values()}
    assert tasks == {"tick", "relay", "read_back", "sweep", "audit", "canaries"}
    assert all(entry["options"]["expires"] > CLOCKS_DIFFER for entry in schedule.values())


def test_a_connection_that_leads_nowhere_is_given_up_and_an_idle_one_is_not() -> None:
    line = configuration(Settings(redis_url="redis://localhost"))["broker_transport_options"]
    assert Transport.brpop_timeout < line["socket_timeout"]
    overdue = Transport.brpop_timeout + 2 * line["health_check_interval"]
    assert overdue + line["socket_timeout"] < HEARTBEAT_SECONDS


def test_what_a_newer_versions_hint_says_besides_is_no_obstacle() -> None:
    with closing(Celery("another", task_cls=Hinted)) as another:

        @another.task
        def poll(group: str, slots: int = 1) -> str:
            return json.dumps([group, slots])

        assert poll.apply(("g", 2, "new"), {"newer": True}).get() == '["g", 2]'
        assert poll.apply((), {"group": "g", "newer": True}).get() == '["g", 1]'
