"""A simulated world: a fleet of real workers, what they talk to, and how it fails anywhere."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import redis.exceptions

from ingest.errors import ConnectionFailed
from ingest.settings import Settings
from tests.simulation.faults import Faults, Kind
from tests.simulation.member import Member
from tests.simulation.pop3 import Server, Socket
from tests.simulation.redis_client import Request
from tests.simulation.redis_keys import Answer
from tests.simulation.redis_server import RedisServer
from tests.simulation.scheduler import Process, Scheduler
from tests.simulation.store import SimulatedStore
from tests.simulation.witness import Witness

START = 1_760_000_000.0


class Hint(NamedTuple):
    """A Celery message."""

    task: str
    arguments: tuple[str, ...]


class World:
    """All there is for one seed.

    Args:
        chance: decides everything.
        settings: of the workers.
        threads: of a worker that take hints.
        run_task: what a worker does with a hint.
    """

    def __init__(
        self,
        chance: random.Random,
        settings: Settings,
        threads: int,
        run_task: Callable[[Hint], object],
    ) -> None:
        self.chance = chance
        self.settings = settings
        self.faults = Faults(chance)
        self.scheduler = Scheduler(chance, chance.choice((0.05, 0.2, 0.5)), START)
        self.redis_offset = 0.0  # seconds that its clock is wrong
        self.redis = RedisServer(lambda: self.scheduler.now + self.redis_offset)
        self.store = SimulatedStore(self.scheduler, self.faults)
        self.witness = Witness(self.store.quiet, self.redis)
        self.store.on_placed = self.witness.store.placed
        self.hints: list[Hint] = []
        self.members: list[Member] = []  # workers
        self.children: list[Member] = []  # of workers
        self._servers: dict[int, Server] = {}  # by port
        self._threads = threads
        self._run_task = run_task
        self._begun = 0
        self.making = Process("")  # whose parts are being wired

    # Clocks

    def monotonic(self) -> float:
        """The monotonic clock of the current process."""
        return self.scheduler.now - self.scheduler.current.process.slept

    def wall_clock(self) -> float:
        """What the current process takes for the time: seconds since the epoch."""
        return self.scheduler.now + self.scheduler.current.process.wall_offset

    # Processes

    def start(self) -> None:
        """Another worker process."""
        member = self._make("w")
        self.members.append(member)
        process = member.process
        for thread in range(self._threads):
            self.scheduler.spawn(f"{process.name}.{thread}", process, lambda: self._work(member))

    def start_child(self) -> Member:
        """A process of the current one, for one session."""
        member = self._make(f"{self.scheduler.current.process.name}c")
        self.children.append(member)
        return member

    def _make(self, name: str) -> Member:
        self._begun += 1
        self.making = Process(f"{name}{self._begun}")
        return Member(self, self.making)

    @property
    def member(self) -> Member:
        """What the current process is; outside of all, any worker."""
        return self.found() or self.members[-1]

    def found(self) -> Member | None:
        """The worker, or the child of one, that the current process is."""
        process = self.scheduler.current.process
        both = (*self.members, *self.children)
        return next((member for member in both if member.process is process), None)

    @property
    def at_work(self) -> bool:
        """Whether any process does anything."""
        if self.hints:
            return True
        return any(member.busy for member in (*self.members, *self.children))

    def end(self, member: Member) -> None:
        """Let a process die. A worker is replaced."""
        if member in self.members:
            self.members.remove(member)
            self.start()
        elif member in self.children:
            self.children.remove(member)
        else:
            return
        for socket in member.sockets:
            socket.close()
        self.scheduler.kill(member.process)

    def send(self, hint: Hint) -> None:
        """A Celery message, which may be lost or doubled."""
        if not self.faults.strikes("hint lost"):
            self.hints += [hint] * (1 + self.faults.strikes("hint doubled"))

    def _work(self, member: Member) -> None:
        """What Celery does with a thread: one hint after the other."""
        while not member.application.shutdown.closing:
            self.scheduler.wait(lambda: bool(self.hints))
            hint = self.hints.pop(0)
            self.scheduler.note(f"takes {hint.task} {' '.join(hint.arguments)}")
            member.busy += 1
            try:
                self._run_task(hint)
            except Exception as error:  # noqa: BLE001 - Celery logs it and goes on
                self.scheduler.note(f"{hint.task} failed: {type(error).__name__}")
            member.busy -= 1

    # The network

    def serve(self, port: int, server: Server) -> None:
        """Let connections to that port reach the server."""
        self._servers[port] = server
        self.witness.servers[server.mailbox] = server

    def connect(self, port: int) -> Socket:
        """A connection of the current process."""
        server = self._servers[port]
        self.scheduler.step(f"{server.mailbox} connect")
        if self.faults.strikes("connection refused"):
            raise ConnectionFailed(f"mailbox {server.mailbox}: the connection was refused")
        socket = Socket(server)
        self.member.sockets.append(socket)
        return socket

    def carry(self, request: Request, call: Callable[[], Answer]) -> Answer:
        """Bring a request to Redis, and the answer back, as the real client would: it asks again
        where no answer came.

        Raises:
            redis.exceptions.ConnectionError: no answer; nobody knows whether it took effect.
        """
        self.scheduler.step(f"redis {request.name}")
        if self._redis_fails("Redis failed before"):
            raise redis.exceptions.ConnectionError
        answer = self.witness.redis.asked(request, call)
        if self._redis_fails("Redis command sent twice"):
            answer = self.witness.redis.asked(request, call)
        if self._redis_fails("Redis failed after"):
            raise redis.exceptions.ConnectionError
        return answer

    def _redis_fails(self, kind: Kind) -> bool:
        """A failure may leave an attempt counted twice, or not taken back."""
        if not self.faults.strikes(kind):
            return False
        self.witness.excuse(2)
        return True
