"""What the real code takes from its process, taken from the simulation instead.

Clocks, chance, sockets, hints and logs: each patched once, at the one name where the code looks it
up, so that no signature of the product knows of any simulation.
"""

from __future__ import annotations

import logging
import random
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, tzinfo
from functools import partialmethod
from types import SimpleNamespace

import pytest
import structlog
import ulid
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict

from ingest import isolation
from ingest.intake import poll, session
from ingest.mime.events import Event
from ingest.mime.splitter import Splitter
from ingest.model import Octets
from ingest.observability.logging import without_secrets
from ingest.tasks import tasks
from ingest.transport import sockets
from tests.simulation.child import Child
from tests.simulation.mail import BREAKS_PARSER, KILLS_PARSER, PRIVATE
from tests.simulation.member import Member, patch_bootstrap
from tests.simulation.pop3 import Socket
from tests.simulation.pop3_session import PASSWORD
from tests.simulation.world import Hint, World

PASSWORD_VARIABLE = "SIMULATED_PASSWORD"
TASKS = ("tick", "poll", "relay", "read_back", "sweep")


class Simulated:
    """What stands in for the process, for one world after the other."""

    def __init__(self) -> None:
        self.chance = random.Random()  # of ids and jitter
        self.tasks = {name: Task(name, self) for name in TASKS}
        self._world: World | None = None
        self._monotonic = time.monotonic
        self._time = time.time

    @contextmanager
    def living_in(self, world: World, seed: int) -> Iterator[None]:
        """From now on that world is all there is."""
        self._world = world
        self.chance.seed(seed)
        try:
            yield
        finally:
            world.scheduler.end()
            self._world = None

    @property
    def world(self) -> World:
        assert self._world
        return self._world

    def run_task(self, hint: Hint) -> None:
        self.tasks[hint.task].run(*hint.arguments)

    def member(self) -> Member:
        return self.world.member

    def monotonic(self) -> float:
        return self._world.monotonic() if self._world else self._monotonic()

    def time(self) -> float:
        return self._world.wall_clock() if self._world else self._time()

    def wall_clock(self, zone: tzinfo) -> datetime:
        return datetime.fromtimestamp(self.world.wall_clock(), zone)

    def connect(self, _host: str, port: int, *_: object) -> Socket:
        return self.world.connect(port)

    def harmless(self, _: object, __: str, event: EventDict) -> EventDict:
        """Let go what needs no closer look: that saves most of the time."""
        error = event.get("exc_info")
        if not error and PRIVATE not in repr(event):
            raise structlog.DropEvent
        if self._world and event["event"] == "session_broke":
            self._world.witness.broke(error)
        return event

    def log(self, _: object, __: str, event: EventDict) -> EventDict:
        if self._world:
            self._world.witness.logged(repr(event))
        raise structlog.DropEvent


class Task:
    """A task: runs the real one; its hints go to the simulated broker."""

    def __init__(self, name: str, simulated: Simulated) -> None:
        self._name = name
        self._simulated = simulated
        self.run = getattr(tasks, name).run

    def apply_async(self, arguments: tuple[str, ...] = (), **_: object) -> None:
        self._simulated.world.send(Hint(self._name, arguments))


def _feed(
    splitter: Splitter,
    simulated: Simulated,
    feed: Callable[[Splitter, Octets], list[Event]],
    octets: Octets,
) -> list[Event]:
    """Feed the parser, which breaks or dies of some messages."""
    start = bytes(octets[: len(BREAKS_PARSER)])
    if start.startswith(BREAKS_PARSER):
        simulated.world.faults.struck["parser broken"] += 1
        raise ValueError(f"the parser broke at {bytes(octets[:200])!r}, by {PRIVATE}")
    if start.startswith(KILLS_PARSER):
        simulated.world.faults.struck["parser killed"] += 1
        simulated.world.witness.excuse()
        simulated.world.end(simulated.world.member)
    return feed(splitter, octets)


@contextmanager
def simulated() -> Iterator[Simulated]:
    """Let the real code live in whatever world the yielded object has."""
    simulated = Simulated()
    generator = ulid.ULIDGenerator(
        randomness=lambda _: simulated.chance.randbytes(10), policy=ulid.PureRandomPolicy()
    )
    clock = SimpleNamespace(now=simulated.wall_clock, fromisoformat=datetime.fromisoformat)
    processes = SimpleNamespace(
        Popen=lambda *_, **__: Child(simulated.world),
        PIPE=subprocess.PIPE,
        TimeoutExpired=subprocess.TimeoutExpired,
    )
    configuration = structlog.get_config()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PASSWORD_VARIABLE, PASSWORD)
        patch.setattr(time, "monotonic", simulated.monotonic)
        patch.setattr(time, "time", simulated.time)
        patch.setattr(session, "datetime", clock)
        for module in (poll, session):
            patch.setattr(module, "random", SimpleNamespace(random=simulated.chance.random))
        patch.setattr(secrets, "token_hex", lambda octets: simulated.chance.randbytes(octets).hex())
        patch.setattr(ulid, "default_generator", generator)
        patch.setattr(sockets, "connect", simulated.connect)
        patch.setattr(Splitter, "feed", partialmethod(_feed, simulated, Splitter.feed))
        patch_bootstrap(patch, lambda: simulated.world)
        patch.setattr(isolation, "subprocess", processes)
        patch.setattr(tasks, "current", simulated.member)
        for name in TASKS:
            patch.setattr(tasks, name, simulated.tasks[name])
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                simulated.harmless,
                structlog.processors.ExceptionRenderer(
                    ExceptionDictTransformer(show_locals=False, max_frames=20)
                ),
                without_secrets,
                simulated.log,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        )
        try:
            yield simulated
        finally:
            structlog.configure(**configuration)
