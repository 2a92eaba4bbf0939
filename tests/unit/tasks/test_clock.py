"""What beat's scheduler sends and what not, on a real Valkey."""

from __future__ import annotations

import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from celery import Celery, signals
from structlog.testing import capture_logs

from ingest.observability import systemd
from ingest.settings import Settings
from ingest.tasks import clock as clock_module
from ingest.tasks.app import MAINTENANCE, RELAY, TURNS
from ingest.tasks.clock import MOST_HINTS, Clock, serve
from ingest.tasks.worker import Worker
from tests.servers.ports import HOST, free_port
from tests.servers.valkey import Valkey


class Beat(NamedTuple):
    """Celery's, as it starts."""

    scheduler: Clock


def turn(clock: Clock, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(max(0, clock.tick()))


def test_the_clock_stops_hinting_at_a_lane_where_nobody_works(app: Celery, worker: Worker) -> None:
    redis = worker.application.redis
    clock = Clock(app=app, lazy=False)
    entry = clock.schedule["relay"]
    redis.rpush(RELAY, *(["hint"] * (MOST_HINTS - 1)))
    clock.apply_entry(entry)
    clock.apply_entry(entry)
    assert redis.llen(RELAY) == MOST_HINTS


def test_a_redis_that_is_away_does_not_stop_the_clock(app: Celery) -> None:
    app.conf.update(broker_url=f"redis://127.0.0.1:{free_port()}")
    clock = Clock(app=app, lazy=False)
    with capture_logs() as logs:
        while not logs:
            clock.heartbeat._last -= 1000
            time.sleep(max(0, clock.tick()))
    assert [(said["event"], said["error"]) for said in logs] == [
        ("hint_not_sent", "ConnectionError")
    ]
    assert not clock.heartbeat.complaint()


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


def test_a_clock_that_waits_for_an_answer_of_redis_does_not_turn_and_says_so(app: Celery) -> None:
    seen = threading.Event()
    with socket.create_server((HOST, 0)) as silent, capture_logs():
        app.conf.update(broker_url=f"redis://{HOST}:{silent.getsockname()[1]}")
        clock = Clock(app=app, lazy=False)
        turning = threading.Thread(target=turn, args=(clock, seen.is_set))
        turning.start()
        with silent.accept()[0]:  # it waits for the answer to its first command now
            clock.heartbeat._last -= 100
            said = clock.heartbeat.complaint()
            seen.set()
        silent.close()
        turning.join()
    name = next(each for each in clock.schedule if repr(each) in said)
    assert said == (
        "beat's loop has not turned for 100 s (limit 60 s): "
        f"it waits for Redis to take the hint {name!r}"
    )


def test_a_turn_that_took_as_long_as_redis_may_is_none(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(app=app, lazy=False)
    clock.heartbeat._last -= 1000
    monkeypatch.setattr(clock_module, "ANSWER_SECONDS", 0)
    clock.tick()
    assert clock.heartbeat.complaint()
    monkeypatch.undo()
    clock.tick()
    assert not clock.heartbeat.complaint()


def test_systemd_is_told_now_and_then_that_beat_turns_and_when_it_ends(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(systemd, "tell", told.append)
    clock = Clock(app=app, lazy=False)
    for _ in range(5):
        clock.tick()
    assert told == [systemd.ALIVE]
    clock._told -= 100
    clock.tick()
    clock.close()
    assert told == [systemd.ALIVE, systemd.ALIVE, systemd.STOPPING]


def test_beat_is_ready_while_redis_answers(app: Celery, valkey: Valkey, tmp_path: Path) -> None:
    def asked(url: str) -> tuple[int, str]:
        settings = Settings(
            home=str(tmp_path), redis_url=url, beat_port=free_port(), metrics_host=HOST
        )
        heartbeat = Clock(app=app, lazy=False).heartbeat
        with serve(settings, heartbeat) as server:
            try:
                with urllib.request.urlopen(f"http://{HOST}:{server.port}/readyz") as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

    assert asked(valkey.url) == (200, "ok\n")
    assert asked(f"redis://{HOST}:{free_port()}") == (503, "redis: Redis can't be reached\n")


def test_a_port_that_is_taken_ends_beat_and_names_the_setting(
    app: Celery, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((HOST, 0)) as other, capture_logs() as logs:
        monkeypatch.setenv("INGEST_REDIS_URL", valkey.url)
        monkeypatch.setenv("INGEST_BEAT_PORT", str(other.getsockname()[1]))
        monkeypatch.setenv("INGEST_METRICS_HOST", HOST)
        with pytest.raises(SystemExit, match="3"):
            signals.beat_init.send(sender=Beat(Clock(app=app, lazy=False)))
    assert [(said["event"], said["log_level"]) for said in logs] == [
        ("beat_not_started", "critical")
    ]
    assert "INGEST_BEAT_PORT" in logs[0]["remedy"]
