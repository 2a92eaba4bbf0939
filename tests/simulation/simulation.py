"""One seed from its beginning to its end: trouble, calm, and what must be true then."""

from __future__ import annotations

import itertools
import random
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from ingest.bootstrap import SINK, Application
from ingest.objects import keys
from ingest.state.ledger import RECORDS_KEPT
from tests.simulation.faults import Habit, Kind
from tests.simulation.patches import Simulated
from tests.simulation.redis_server import Group
from tests.simulation.scheduler import Process, Step, Stuck
from tests.simulation.seeds import deliver, populate, world_of
from tests.simulation.store_witness import Broken
from tests.simulation.strikes import Strikes
from tests.simulation.world import Hint

_TROUBLE = (60, 320)  # steps
_MOST_STEPS = 6000  # until all is done, once nothing goes wrong any more
_CALM_AFTER = 4000.0  # seconds: leases, back-offs and the servers' patience end
_ARRIVALS = 0.2  # messages per beat
_A_PERSON_LOOKS = 5  # beats
_RELAYS = 0.4  # per beat
_SWEEPS = 0.02  # per beat
_LOST_BEFORE_THE_END = 0.3  # of the seeds
_SWEPT_AFTER = 9 * 86400.0


class Outcome(NamedTuple):
    """What came of a seed."""

    steps: int
    messages: int
    events: int
    struck: Counter[Kind | Habit]
    digest: int  # of the trace, and of what was stored and published


class Failed(Exception):
    """A seed that breaks an invariant, or the simulation."""

    def __init__(self, seed: int, failure: BaseException, trace: Sequence[Step]) -> None:
        lines = "\n".join(map(str, trace))
        why = f"seed {seed}: {type(failure).__name__}: {failure}"
        super().__init__(f"{lines}\n{why}\nall its steps: make simulate SEED={seed}")


class Simulation:
    """One seed. Made for one `run`. `on_step` sees every step."""

    def __init__(self, seed: int, simulated: Simulated) -> None:
        self._seed = seed
        self._simulated = simulated
        self._chance = random.Random(seed)
        self._world = world_of(self._chance, simulated.run_task)
        self._strikes = Strikes(self._world)
        self._outside = Process("beat")
        self._calmed = False
        self.on_step: Callable[[Step], object] = lambda _: None

    def run(self) -> Outcome:
        """Run it.

        Raises:
            Failed: an invariant does not hold, or the simulation has a bug.
        """
        world = self._world
        with self._simulated.living_in(world, self._seed):
            try:
                self._run()
            except (Exception, Broken, Stuck) as failure:
                raise Failed(self._seed, failure, world.scheduler.trace) from failure
        return Outcome(
            steps=world.scheduler.steps,
            messages=world.witness.delivered.total(),
            events=len(world.witness.published),
            struck=world.faults.struck,
            digest=zlib.crc32(
                repr((world.witness.published, list(world.store.objects.items()))).encode(),
                world.scheduler.digest,
            ),
        )

    def _run(self) -> None:
        world = self._world
        world.scheduler.on_note = self.on_step
        populate(world)
        world.scheduler.spawn("beat", self._outside, self._beat)
        world.scheduler.on_step = self._strikes.step
        world.faults.begin()
        world.scheduler.run(lambda: False, self._chance.randint(*_TROUBLE))
        self._calm()
        if self._chance.random() < _LOST_BEFORE_THE_END:
            self._alone(self._compare)
            self._alone(self._lose_redis)
        self._drain()
        self._alone(self._compare)
        self._alone(self._check_index)
        self._alone(self._lose_redis)
        self._drain()
        self._sweep()
        world.witness.check_messages()
        world.witness.check_records()
        world.witness.check_references()

    # Time

    def _beat(self) -> None:
        """Hints, as Celery's beat sends them, only rarer; and mail that arrives."""
        world, chance = self._world, self._chance
        servers = list(world.witness.servers.values())
        for beat in itertools.count():
            world.send(Hint("tick", ()))
            if self._calmed or chance.random() < _RELAYS:
                world.send(Hint("relay", ()))
            if beat % 10 == 0:
                world.send(Hint("read_back", ()))
            if chance.random() < _SWEEPS:
                world.send(Hint("sweep", ()))
            if self._calmed:
                if beat % _A_PERSON_LOOKS == 0:
                    self._resume()
                world.scheduler.sleep(60.0)
                continue
            if chance.random() < _ARRIVALS:
                deliver(world, chance.choice(servers))
            world.scheduler.sleep(chance.choice((1.0, 10.0, 30.0)))

    def _calm(self) -> None:
        """Nothing goes wrong any more; who waits for something has waited long enough."""
        world = self._world
        self._calmed = True
        world.faults.cease()
        for server in world.witness.servers.values():
            server.lying = False
        for member in (*world.members, *world.children):
            member.process.paused_until = 0.0
        world.scheduler.now += _CALM_AFTER
        world.witness.excuse()  # leases are lost by that, and with them what attempts counted
        self._resume()

    def _resume(self) -> None:
        """What a person does: resume mailboxes, release the brake, end rehearsals."""
        application = self._world.member.application
        application.brake.release()
        for mailbox in application.registry.list():
            rule = "committed" if mailbox.delete == "shadow" else mailbox.delete
            if mailbox.paused or rule != mailbox.delete:
                changed = msgspec.structs.replace(mailbox, paused="", delete=rule)
                application.registry.update(changed, seen=mailbox)
                self._world.witness.servers[mailbox.id].rule = rule

    # The end

    def _drain(self) -> None:
        """Until everything is done."""
        if not self._world.scheduler.run(self._is_done, _MOST_STEPS):
            raise Broken("7 drained", self._left() or "somebody is at work still")

    def _is_done(self) -> bool:
        return not self._world.at_work and not self._left()

    def _left(self) -> str:
        """What is still to be done; empty: nothing."""
        world, witness = self._world, self._world.witness
        for mailbox, server in witness.servers.items():
            if server.messages and server.rule != "never":
                return f"{len(server.messages)} messages of {mailbox} are still there"
        for mailbox, sha256 in witness.delivered:
            if not witness.is_published(mailbox, sha256):
                return f"{sha256[:8]} of {mailbox} is not published"
        if any(key.startswith(b"mail-ingest:leases:") for key in world.redis.values):
            return "a lease"
        return "an event" if self._unpublished() else ""

    def _alone(self, job: Callable[[Application], object]) -> None:
        """Let a process of its own do something, while all others stand still."""
        world, done = self._world, list[bool]()
        member = world.start_child()

        def run() -> None:
            job(member.application)
            done.append(True)
            world.end(member)

        world.scheduler.spawn(member.process.name, member.process, run)
        world.scheduler.alone = member.process
        world.scheduler.run(lambda: bool(done), _MOST_STEPS)
        world.scheduler.alone = None

    def _sweep(self) -> None:
        """Nothing is left of what was never committed, when it is old enough."""
        world = self._world
        world.scheduler.now += _SWEPT_AFTER
        self._alone(lambda _: self._simulated.run_task(Hint("sweep", ())))
        left = [*world.witness.store.orphans(), *(one.key for one in world.store.uploads)]
        if left:
            raise Broken("8 swept", ", ".join(left))

    def _compare(self, _: Application) -> None:
        """Find what dead workers left."""
        self._simulated.run_task(Hint("read_back", ()))

    def _lose_redis(self, application: Application) -> None:
        """Redis loses everything, and has the same again from the store."""
        waiting = self._unpublished()
        self._strikes.wipe()
        application.read_back.run_if_lost()
        self._check_index(application)
        if not waiting <= self._unpublished():
            raise Broken("10 read back", "events that waited do so no more")

    def _check_index(self, application: Application) -> None:
        """Redis knows what the store has, back to where the checkpoint says that all is done.

        Of the last thirty days: older records are forgotten where no unique-id stands for them.
        """
        checkpoint = application.checkpoints.read()
        since = checkpoint.before if checkpoint else None
        expected, forgotten = set[tuple[str, str]](), set[tuple[str, str]]()
        kept_since = self._world.scheduler.now - RECORDS_KEPT
        for record in self._world.witness.store.records():
            begun = keys.begun(record.batch)
            if since is None or begun >= since:
                expected.add((record.mailbox, record.id))
            if begun.timestamp() < kept_since:  # it is as old as its first commit
                forgotten.add((record.mailbox, record.id))
        if missing := expected - forgotten - self._known():
            raise Broken("10 read back", f"Redis does not know {len(missing)} records")

    def _known(self) -> set[tuple[str, str]]:
        """The records that Redis has, with their mailboxes."""
        prefix = b"mail-ingest:records:"
        return {
            (key.removeprefix(prefix).decode(), record.hex())
            for key, records in self._world.redis.values.items()
            if key.startswith(prefix)
            for record in records
        }

    def _unpublished(self) -> set[bytes]:
        """The ids of the events that the sink has not acknowledged."""
        stream = self._world.redis.stream_at(b"mail-ingest:outbox")
        group = stream.groups.get(SINK.encode()) or Group()
        return {
            fields[1]
            for entry, fields in stream.entries.items()
            if entry > group.delivered or entry in group.pending
        }
