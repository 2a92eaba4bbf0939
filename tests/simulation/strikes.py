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
from tests.simulation.world import Hint, World

_DAYS = 8 * 86400.0
_SNAPSHOTS = 0.02  # of Redis, per step
_SNAPSHOTS_KEPT = 5
_READ_BACK_SECONDS = 0.03  # that one takes, by the scheduler's steps
_WRONG_SECONDS = 600.0  # that a clock is set wrong by
_GRACE_SECONDS = 2.0
_BRAKE = f"{PREFIX}brake"
_READ_BACK = f"{PREFIX}read-back".encode()


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
            if kind not in {"told to stop", "clock set wrong"}:
                world.witness.excuse()
            self._to_worker[kind](member)
        elif self._snapshot_rate and world.chance.random() < self._snapshot_rate:
            self._snapshots = [*self._snapshots, self._snapshot()][-_SNAPSHOTS_KEPT:]

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
        self._world.send(Hint("sweep", ()))
        self._world.scheduler.pause(member.process, self._lease_seconds)

    def _stop(self, member: Member) -> None:
        world = self._world
        member.application.shutdown.begin(_GRACE_SECONDS)

        def end() -> None:
            world.scheduler.sleep(2 * _GRACE_SECONDS)
            if member.busy:
                world.witness.excuse()
            world.end(member)

        world.scheduler.spawn("orchestrator", self._outside, end)

    def _set_clock(self, member: Member) -> None:
        member.process.wall_offset = self._world.chance.uniform(-1, 1) * _WRONG_SECONDS

    # The world

    def _note(self, kind: Kind) -> None:
        self._world.faults.struck[kind] += 1
        self._world.witness.excuse()

    def _pass_time(self) -> None:
        self._note("time passes")
        self._world.scheduler.now += self._some(2)

    def _wipe(self) -> None:
        self._note("Redis wiped")
        self.wipe()
        if self._snapshot_rate:
            self._world.scheduler.spawn("redis", self._outside, self._die_while_read_back)

    def wipe(self) -> None:
        """Redis dies, and has forgotten everything."""
        self._world.redis.restart(RedisServer(self._world.redis.clock).snapshot())
        self._world.witness.redis.leases.clear()
        self._world.witness.redis_lost_data = True

    def _die_while_read_back(self) -> None:
        """Redis dies once more, with the beginning of its read-back on its disk."""
        world = self._world
        world.scheduler.wait(lambda: _READ_BACK in world.redis.values)
        kept = self._snapshot()
        world.scheduler.sleep(world.chance.uniform(0, _READ_BACK_SECONDS))
        self._restart(kept)

    def _roll_back(self) -> None:
        if self._snapshots:
            self._restart(self._world.chance.choice(self._snapshots))

    def _restart(self, kept: Snapshot) -> None:
        self._note("Redis rolled back")
        self._world.redis.restart(kept.octets)
        self._world.witness.redis.leases = dict(kept.leases)
        self._world.witness.excuse_all()
        self._world.witness.redis_lost_data = True

    def _snapshot(self) -> Snapshot:
        return Snapshot(self._world.redis.snapshot(), dict(self._world.witness.redis.leases))

    def _step_clock(self) -> None:
        self._note("Redis clock stepped")
        self._world.redis_offset += self._world.chance.uniform(-1, 2) * self._lease_seconds

    def _pull_brake(self) -> None:
        world = self._world
        if not world.witness.redis.braked:
            world.faults.struck["brake pulled"] += 1
            world.witness.braked_at = world.scheduler.now
            world.redis.call("SET", _BRAKE, "a person pulled it")
