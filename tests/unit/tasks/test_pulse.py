"""A worker's hints to itself, and the clock that stops where nobody listens; on a real Valkey."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from celery import Celery

from ingest.observability import systemd
from ingest.settings import Settings
from ingest.state.connect import connect
from ingest.tasks import pulse as pulse_module
from ingest.tasks import tasks
from ingest.tasks.app import RELAY, configuration
from ingest.tasks.clock import MOST_HINTS, Clock
from ingest.tasks.pulse import Pulse
from ingest.tasks.worker import Worker
from tests.servers.ports import free_port
from tests.servers.valkey import Valkey


@pytest.fixture
def app(valkey: Valkey, tmp_path: Path) -> Iterator[Celery]:
    app = Celery("another")
    app.config_from_object(
        configuration(Settings(home=str(tmp_path), redis_url=valkey.url, metrics_port=0))
    )
    with closing(app):
        yield app


def test_a_hint_lies_in_the_workers_own_queue_and_is_forgotten_when_nobody_takes_it(
    app: Celery, worker: Worker
) -> None:
    redis = worker.application.redis
    pulse = Pulse(app, redis, worker.heartbeat)
    pulse.start()
    worker.heartbeat._last -= 1000
    pulse.send()
    assert redis.llen(pulse.queue.name) == 1
    assert 0 < redis.ttl(pulse.queue.name) <= 300
    assert not redis.keys("_kombu.binding.pulse*")
    assert worker.heartbeat.complaint()
    tasks.pulse()
    assert not worker.heartbeat.complaint()
    pulse.close()


def test_a_redis_that_is_away_is_no_reason_to_restart_the_worker(
    app: Celery, worker: Worker
) -> None:
    with connect(f"redis://127.0.0.1:{free_port()}") as nobody:
        worker.heartbeat._last -= 1000
        Pulse(app, nobody, worker.heartbeat).send()
        assert not worker.heartbeat.complaint()


def test_each_worker_has_a_queue_of_its_own(app: Celery, worker: Worker) -> None:
    redis, heartbeat = worker.application.redis, worker.heartbeat
    assert Pulse(app, redis, heartbeat).queue.name != Pulse(app, redis, heartbeat).queue.name


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


def test_systemd_is_told_that_all_is_well_only_while_the_heart_beats(
    app: Celery, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulse_module, "_SECONDS", 0.01)
    monkeypatch.setattr(systemd, "tell", said.append)
    pulse = Pulse(app, worker.application.redis, worker.heartbeat)
    pulse.start()
    _wait(lambda: said == [systemd.ALIVE] * len(said) and len(said) > 1)
    worker.heartbeat._last -= 1000
    _wait(lambda: worker.application.redis.llen(pulse.queue.name) > len(said) + 2)
    pulse.close()
    told = len(said)
    assert worker.heartbeat.complaint()
    assert told < worker.application.redis.llen(pulse.queue.name)


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)
