"""A network that is cut: what was connected to Redis leads nowhere, and nobody is told."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from celery import Celery
from redis import Redis

from ingest.state.connect import connect
from ingest.tasks.app import MAINTENANCE, RELAY
from tests.e2e.fleet import Fleet, fleet
from tests.servers.ports import HOST, free_port
from tests.servers.proxy import Proxy, tcp_proxy
from tests.servers.valkey import valkey_server

pytestmark = [pytest.mark.exam, pytest.mark.timeout(120)]

GOES_ON_SECONDS = 50  # before /healthz complains, and whoever asks it ends the process
SOON = 2.0


class World(NamedTuple):
    """A fleet, and the line to its Redis."""

    ours: Fleet
    line: Proxy
    redis: Redis  # reached directly
    url: str  # likewise

    def cut(self) -> None:
        """End the line of all that is connected."""
        self.line.dead = self.line.connections
        time.sleep(2)  # what Redis had promised to wait for is over


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    port = free_port()
    url = f"redis://{HOST}:{port}/0"
    with (
        valkey_server("--port", str(port), "--bind", HOST),
        tcp_proxy(HOST, port) as line,
        fleet(tmp_path, f"redis://{HOST}:{line.port}/0", {}) as ours,
        contextlib.closing(connect(url)) as redis,
    ):
        yield World(ours, line, redis, url)


def test_a_worker_takes_hints_again_after_its_connections_were_cut(world: World) -> None:
    worker = world.ours.start("worker")
    world.ours.wait(lambda: worker.said("worker_started"), 30)
    with Celery(broker=world.url) as app:

        def takes_hints() -> bool:
            app.send_task("tick", queue=MAINTENANCE)
            time.sleep(SOON)
            return not world.redis.llen(MAINTENANCE)

        assert takes_hints()
        world.cut()
        # The first that it takes it may have to drop a second connection for.
        world.ours.wait(lambda: all(takes_hints() for _ in range(3)), GOES_ON_SECONDS)


def test_a_beat_sends_hints_again_after_its_connections_were_cut(world: World) -> None:
    world.ours.start("beat")

    def sends_hints() -> bool:
        world.redis.delete(RELAY)
        time.sleep(SOON)
        return bool(world.redis.llen(RELAY))

    world.ours.wait(sends_hints, 30)
    world.cut()
    world.ours.wait(lambda: all(sends_hints() for _ in range(3)), GOES_ON_SECONDS)
