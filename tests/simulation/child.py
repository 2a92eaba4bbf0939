"""A process that a worker starts for messages that may have taken a worker down."""

from __future__ import annotations

import subprocess

import msgspec

from ingest.errors import IngestError
from ingest.isolation import Outcome, Question
from ingest.model import Lease
from tests.simulation.world import World


class Child:
    """As much of `subprocess.Popen` as `ingest.isolation` uses; it does what `ingest isolate` does.

    It outlives its parent, and is killed, paused and suspended like any process.
    """

    stdin = stdout = None
    pid = 0

    def __init__(self, world: World) -> None:
        world.scheduler.step("starts a child")
        self._world = world
        self._member = world.start_child()
        self._answer = b""

    @property
    def returncode(self) -> int | None:
        if self._answer:
            return 0
        return -9 if self._member.process.dead else None

    def communicate(self, question: bytes | None, timeout: float) -> tuple[bytes, None]:
        if question is not None:
            process = self._member.process
            lease = msgspec.json.decode(question, type=Question).lease
            self._world.witness.isolated(lease.mailbox)
            self._world.scheduler.spawn(process.name, process, lambda: self._run(lease))
        self.wait(timeout)
        return self._answer, None

    def terminate(self) -> None:
        self._world.scheduler.step("ends a child")
        self._member.application.shutdown.begin(0)

    def kill(self) -> None:
        self._world.scheduler.step("kills a child")
        self._world.end(self._member)

    def wait(self, timeout: float | None = None) -> None:
        if not self._world.scheduler.wait(lambda: self.returncode is not None, timeout):
            raise subprocess.TimeoutExpired("ingest isolate", timeout or 0)

    def _run(self, lease: Lease) -> None:
        self._member.busy = 1
        try:
            outcome = Outcome(report=self._member.application.run_suspects(lease))
        except IngestError as error:
            outcome = Outcome(code=error.code, message=str(error), remedy=error.remedy)
        self._answer = msgspec.json.encode(outcome)
        self._world.end(self._member)
