"""A worker's hints to itself, on a real Valkey."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import closing

import pytest
from celery import Celery
from kombu import Consumer
from kombu.message import Message
from structlog.testing import capture_logs

from ingest.observability import metrics, systemd
from ingest.state.connect import connect
from ingest.state.presence import Presence
from ingest.tasks import pulse as pulse_module
from ingest.tasks import tasks
from ingest.tasks.pulse import Pulse
from ingest.tasks.worker import Worker
from tests.servers.ports import free_port


def test_a_hint_lies_in_the_workers_own_queue_and_is_forgotten_when_nobody_takes_it(
    app: Celery, worker: Worker
) -> None:
    redis = worker.application.redis
    pulse = Pulse(app, redis, worker.heartbeat)
    worker.heartbeat._last -= 1000
    pulse.start()
    _wait(lambda: 0 < int(redis.ttl(pulse.queue.name)) <= 300)
    assert redis.llen(pulse.queue.name) == 1
    assert not redis.keys("_kombu.binding.*pulse*")
    assert worker.heartbeat.complaint()
    tasks.pulse()
    assert not worker.heartbeat.complaint()
    pulse.close()


def test_nothing_is_put_back_of_what_a_killed_worker_had_taken(app: Celery, worker: Worker) -> None:
    redis = worker.application.redis
    pulse = Pulse(app, redis, worker.heartbeat)
    pulse.start()
    taken: list[Message] = []
    with (
        app.connection_for_read() as connection,
        Consumer(connection.default_channel, [pulse.queue], on_message=taken.append),
    ):
        connection.drain_events(timeout=10)
        assert len(taken) == 1
        assert not redis.exists("unacked", pulse.queue.name)
    pulse.close()


def test_a_worker_is_seen_from_its_start_on(app: Celery, worker: Worker) -> None:
    redis = worker.application.redis
    pulse = Pulse(app, redis, worker.heartbeat)
    assert not Presence(redis).seen()
    pulse.start()
    _wait(Presence(redis).seen)
    pulse.close()


def test_a_redis_that_is_away_is_no_reason_to_restart_the_worker(
    app: Celery, worker: Worker
) -> None:
    with connect(f"redis://127.0.0.1:{free_port()}") as nobody:
        worker.heartbeat._last -= 1000
        Pulse(app, nobody, worker.heartbeat).send()
        assert not worker.heartbeat.complaint()


def test_a_redis_that_is_full_is_told_though_no_task_can_run(app: Celery, worker: Worker) -> None:
    redis = worker.application.redis
    redis.config_set("maxmemory", "1")
    try:
        with capture_logs() as logs:
            Pulse(app, redis, worker.heartbeat).send()
    finally:
        redis.config_set("maxmemory", "0")
    (said,) = logs
    assert (said["event"], said["reason"]) == ("redis_not_usable", "Redis is out of memory")
    assert counted("state_refused") > 0


def counted(code: str) -> float:
    return metrics.registry.get_sample_value("mail_ingest_errors_total", {"code": code}) or 0


def test_a_redis_that_hangs_does_not_hold_up_the_end_of_the_worker(
    app: Celery, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse_module, "_SECONDS", 0.01)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        closing(connect(f"redis://127.0.0.1:{silent.getsockname()[1]}")) as hanging,
    ):
        pulse = Pulse(app, hanging, worker.heartbeat)
        pulse.start()
        with silent.accept()[0]:  # it waits for the answer to its first command now
            began = time.monotonic()
            pulse.close()
            assert time.monotonic() - began < 5


def test_each_worker_has_a_queue_of_its_own(app: Celery, worker: Worker) -> None:
    redis, heartbeat = worker.application.redis, worker.heartbeat
    assert Pulse(app, redis, heartbeat).queue.name != Pulse(app, redis, heartbeat).queue.name


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
