"""The faults that strike anywhere: at any step of any process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ingest.state.commands import PREFIX
from tests.simulation.faults import Kind
from tests.simulation.member import Member
from tests.simulation.redis_server import RedisServer
from tests.simulation.scheduler import Process
from tests.simulation.witness import Held
from tests.simulation.world import World

_DAYS = 8 * 86400.0
_SNAPSHOTS = 0.02  # of Redis, per step
_SNAPSHOTS_KEPT = 5
_WRONG_SECONDS = 600.0  # that a clock is set wrong by
_GRACE_SECONDS = 2.0
_BRAKE = f"{PREFIX}brake"


class Snapshot(NamedTuple):
    """Redis as it was, and who had its leases."""

    octets: bytes
    leases: dict[str, Held]


class Strikes:
    """Asked at every step."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._lease_seconds = world.settings.lease_seconds
        self._snapshots: list[Snapshot] = []
        self._snapshot_rate = _SNAPSHOTS * world.faults.has(["Redis rolled back"])
        self._outside = Process("orchestrator")
        self._to_worker: Mapping[Kind, Callable[[Member], None]] = {
            "killed": self._kill,
            "paused": self._pause,
            "suspended": self._suspend,
            "suspended for days": self._suspend_for_days,
            "told to stop": self._stop,
            "clock set wrong": self._set_clock,
        }
        self._to_all: Mapping[Kind, Callable[[], None]] = {
            "time passes": self._pass_time,
            "Redis wiped": self._wipe,
            "Redis rolled back": self._roll_back,
            "Redis clock stepped": self._step_clock,
            "brake pulled": self._pull_brake,
        }

    def step(self, what: str) -> None:
        """The current process is about to do something."""
        world = self._world
        kind = world.faults.anywhere(what)
        if kind and kind in self._to_all:
            self._to_all[kind]()
        elif kind and (member := world.found()):
            world.faults.struck[kind] += 1
            world.witness.excuses += kind not in {"told to stop", "clock set wrong"}
            self._to_worker[kind](member)
        elif self._snapshot_rate and world.chance.random() < self._snapshot_rate:
            kept = Snapshot(world.redis.snapshot(), dict(world.witness.redis.leases))
            self._snapshots = [*self._snapshots, kept][-_SNAPSHOTS_KEPT:]

    def _some(self, leases: float) -> float:
        """Seconds, up to so many leases."""
        return self._world.chance.uniform(0.3, leases) * self._lease_seconds

    # Workers

    def _kill(self, member: Member) -> None:
        self._world.end(member)

    def _pause(self, member: Member) -> None:
        self._world.scheduler.pause(member.process, self._some(3))

    def _suspend(self, member: Member) -> None:
        seconds = self._some(3)
        member.process.slept += seconds
        self._world.scheduler.pause(member.process, seconds)

    def _suspend_for_days(self, member: Member) -> None:
        """Longer than the sweep waits; for the others, all that time passes at once."""
        member.process.slept += _DAYS
        self._world.scheduler.now += _DAYS - self._lease_seconds
        self._world.scheduler.pause(member.process, self._lease_seconds)

    def _stop(self, member: Member) -> None:
        world = self._world
        member.application.shutdown.begin(_GRACE_SECONDS)

        def end() -> None:
            world.scheduler.sleep(2 * _GRACE_SECONDS)
            world.end(member)

        world.scheduler.spawn("orchestrator", self._outside, end)

    def _set_clock(self, member: Member) -> None:
        member.process.wall_offset = self._world.chance.uniform(-1, 1) * _WRONG_SECONDS

    # The world

    def _note(self, kind: Kind) -> None:
        self._world.faults.struck[kind] += 1
        self._world.witness.excuses += 1

    def _pass_time(self) -> None:
        self._note("time passes")
        self._world.scheduler.now += self._some(2)

    def _wipe(self) -> None:
        self._note("Redis wiped")
        self.wipe()

    def wipe(self) -> None:
        """Redis dies, and has forgotten everything."""
        self._world.redis.restart(RedisServer(self._world.redis.clock).snapshot())
        self._world.witness.redis.leases.clear()
        self._world.witness.redis_lost_data = True

    def _roll_back(self) -> None:
        if not self._snapshots:
            return
        self._note("Redis rolled back")
        kept = self._world.chance.choice(self._snapshots)
        self._world.redis.restart(kept.octets)
        self._world.witness.redis.leases = dict(kept.leases)
        self._world.witness.redis_lost_data = True

    def _step_clock(self) -> None:
        self._note("Redis clock stepped")
        self._world.redis_offset += self._world.chance.uniform(-1, 2) * self._lease_seconds

    def _pull_brake(self) -> None:
        self._world.faults.struck["brake pulled"] += 1
        self._world.redis.call("SET", _BRAKE, "a person pulled it")
