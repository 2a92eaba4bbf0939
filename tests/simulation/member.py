"""One process of the fleet: the real one, with its ways out of the process replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from ingest import bootstrap
from ingest.errors import StateUnavailable
from ingest.events import sinks
from ingest.intake.poll import Poller
from ingest.intake.pressure import BackPressure
from ingest.intake.relay import OutboxEvent
from ingest.state.outbox import Outbox
from ingest.state.renewal import LeaseKeeper, Renewing
from ingest.tasks import worker
from ingest.tasks.worker import Worker
from tests.simulation.pop3 import Socket
from tests.simulation.redis_client import RedisClient
from tests.simulation.scheduler import Process, SimulatedEvent, SimulatedExecutor

if TYPE_CHECKING:
    from tests.simulation.world import World

_OBSERVED = 0.1  # of the ticks


class Member(Worker):
    """A worker, or a child of one. `process` is where its tasks run."""

    def __init__(self, world: World, process: Process) -> None:
        self.process = process
        self.busy = 0  # threads that are at a task
        self.sockets: list[Socket] = []
        self._world = world
        super().__init__(world.settings)

    def observe(self) -> None:
        """Only now and then: it changes nothing."""
        if self._world.chance.random() < _OBSERVED:
            super().observe()


class Keeper(LeaseKeeper):
    """Renews in a task of its process."""

    def __init__(self, schedule: Renewing, lease_seconds: float, world: World) -> None:
        super().__init__(schedule, lease_seconds, world.monotonic)
        self._closing = SimulatedEvent(world.scheduler)
        self._world = world
        self._process = world.making
        self._runs = False

    def _ensure_thread(self) -> None:
        if not self._runs:
            self._runs = True
            name = f"{self._process.name} keeper"
            self._world.scheduler.spawn(name, self._process, self._run)


class Sink:
    """Confirms what it got, if all goes well."""

    def __init__(self, world: World) -> None:
        self._world = world

    def publish(self, events: Sequence[OutboxEvent]) -> None:
        world = self._world
        for event in events:
            world.scheduler.step("sink")
            if world.faults.strikes("sink refused"):
                raise StateUnavailable("the sink is away")
            world.witness.arrived(event)
        if world.faults.strikes("sink answer lost"):
            raise StateUnavailable("the sink did not confirm")


def patch_bootstrap(patch: pytest.MonkeyPatch, world: Callable[[], World]) -> None:
    """Let `ingest.bootstrap` wire the parts of whatever world there is."""
    patch.setattr(bootstrap, "connect", lambda _: RedisClient(world().redis, world().carry))
    patch.setattr(bootstrap, "open_store", lambda *_: world().store)
    patch.setattr(worker, "Pulse", lambda *_: SimpleNamespace(close=lambda: None))  # never begun
    patch.setattr(
        bootstrap, "LeaseKeeper", lambda schedule, seconds: Keeper(schedule, seconds, world())
    )
    patch.setattr(
        bootstrap, "Outbox", lambda client, sink: Outbox(client, sink, world().making.name)
    )
    patch.setattr(bootstrap, "BackPressure", partial(BackPressure, clock=clock(world)))
    patch.setattr(bootstrap, "Poller", partial(Poller, clock=clock(world)))
    patch.setattr(
        bootstrap,
        "ThreadPoolExecutor",
        lambda *_, **__: SimulatedExecutor(world().scheduler, "commit"),
    )
    patch.setattr(sinks, "RedisStreamSink", lambda *_: Sink(world()))


def clock(world: Callable[[], World]) -> Callable[[], float]:
    """The monotonic clock of whatever process asks."""
    return lambda: world().monotonic()
