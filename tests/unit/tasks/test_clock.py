"""What beat's scheduler sends and what not, on a real Valkey."""

from __future__ import annotations

import time

import pytest
from celery import Celery

from ingest.tasks.app import MAINTENANCE, RELAY, TURNS
from ingest.tasks.clock import MOST_HINTS, Clock
from ingest.tasks.worker import Worker
from tests.servers.ports import free_port


def test_the_clock_stops_hinting_at_a_lane_where_nobody_works(app: Celery, worker: Worker) -> None:
    redis = worker.application.redis
    clock = Clock(app=app, lazy=False)
    entry = clock.schedule["relay"]
    redis.rpush(RELAY, *(["hint"] * (MOST_HINTS - 1)))
    clock.apply_entry(entry)
    clock.apply_entry(entry)
    assert redis.llen(RELAY) == MOST_HINTS


def test_a_redis_that_is_away_does_not_stop_the_clock(
    app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.update(broker_url=f"redis://127.0.0.1:{free_port()}", task_publish_retry=False)
    clock = Clock(app=app, lazy=False)
    began = time.monotonic()
    clock.apply_entry(clock.schedule["relay"])
    assert "Message Error" in caplog.text
    assert time.monotonic() - began < 30


def test_what_is_done_once_an_hour_is_so_with_several_beats_that_are_started_again(
    app: Celery, worker: Worker
) -> None:
    redis = worker.application.redis
    for clock in (Clock(app=app, lazy=False) for _ in range(3)):
        for task in TURNS:
            clock.apply_entry(clock.schedule[task])
    assert redis.llen(MAINTENANCE) == len(TURNS)
    assert redis.ttl("mail-ingest:turn:audit") == pytest.approx(3570, abs=5)
    assert redis.ttl("mail-ingest:turn:read_back") == pytest.approx(270, abs=5)
    redis.delete("mail-ingest:turn:audit")  # as it is when its time is over
    clock = Clock(app=app, lazy=False)
    clock.apply_entry(clock.schedule["audit"])
    assert redis.llen(MAINTENANCE) == len(TURNS) + 1
