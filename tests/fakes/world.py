"""The real intake in a world of fakes, where every step can be the last one.

A step is anything that crosses the border of the process: a POP3 command, a block of octets, an
operation of the store, a call of Redis. Killing the process before each step in turn, which is
also right after the one before, is a kill at every arrow of the way of a message.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TypeVar

import msgspec

from ingest.intake.batch import BatchLimits
from ingest.intake.in_flight import InFlight
from ingest.intake.message import Thresholds
from ingest.intake.probe import Recognition
from ingest.intake.queue import SessionLimits
from ingest.intake.report import SessionReport
from ingest.intake.session import Session, SessionSettings
from ingest.model import Lease, Mailbox, Record
from ingest.objects.commits import CommitReader, rebuild_message
from ingest.objects.log import StoreLog
from tests.fakes.mail_values import mailbox
from tests.fakes.memory_maildrop import MemoryServer
from tests.fakes.memory_state import MemoryLedger, MemoryState
from tests.fakes.memory_store import MemoryStore

Answer = TypeVar("Answer")


class Killed(BaseException):
    """The process is gone: nothing of ours may catch this and go on."""


class SteppedStore(MemoryStore):
    """Steps before each operation."""

    def __init__(self, step: Callable[[str], None]) -> None:
        super().__init__()
        self._step = step

    def act(self, op: str, key: str, effect: Callable[[], Answer]) -> Answer:
        self._step(f"store {op}")
        return super().act(op, key, effect)


class Inline(Executor):
    """Runs what it is given at once, so that every run has the same steps in the same order."""

    def submit(
        self, fn: Callable[..., Answer], /, *args: object, **kwargs: object
    ) -> Future[Answer]:
        future: Future[Answer] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - an executor hands on whatever was raised
            future.set_exception(error)
        return future


class Go:
    """A `Stop` that does not stop, until it is told to."""

    closing = False
    error: Exception | None = None

    def check(self) -> None:
        if self.error:
            raise self.error


class Released:
    """A `Brake` that is pulled by giving it a reason."""

    pulled = ""
    pulled_late = ""  # while the session runs

    def reason(self) -> str:
        return self.pulled

    def allow(self, deletes: int) -> str:
        assert deletes
        return self.pulled or self.pulled_late


class World:
    """One mailbox, its server, a store, a Redis, and the messages that were ever delivered."""

    def __init__(self, *, delete: str = "committed", **limits: int) -> None:
        self.steps: list[str] = []
        self.kill_at = 0  # the step's number, from 1; 0: never
        self.on_step: Callable[[str], None] = lambda _: None
        self.server = MemoryServer(step=self.step)
        self.store = SteppedStore(self.step)
        self.state = MemoryState()
        self.state.faults.append(lambda operation: self.step(f"redis {operation}"))
        self.ledger = MemoryLedger(self.state)
        self.mailbox: Mailbox = mailbox()
        self.delete = delete
        self.delivered: Counter[str] = Counter()
        self.batch_messages = limits.get("batch_messages", 2)
        self.batch_octets = limits.get("batch_octets", 10**9)
        self.session_messages = limits.get("session_messages", 1000)
        self.part_threshold = limits.get("part_threshold", 1000)
        self.strict = bool(limits.get("strict", 0))
        self.suspected = False
        self.recognise: Recognition | None = None  # of a canary's probes
        self.committer: Executor = Inline()
        self.in_flight = InFlight(32)
        self.stop = Go()
        self.brake = Released()

    def step(self, name: str) -> None:
        """The process is about to do this."""
        self.steps.append(name)
        self.on_step(name)
        if len(self.steps) == self.kill_at:
            raise Killed(name)

    def deliver(self, octets: bytes, unique_id: str | None = "") -> None:
        """Put a message on the server."""
        self.server.put(octets, unique_id)
        self.delivered[hashlib.sha256(octets).hexdigest()] += 1

    def session(self, lease: Lease | None = None, *, isolated: bool = False) -> SessionReport:
        """One session of a new process, which takes the mailbox over from whoever had it."""
        owner = msgspec.structs.replace(self.mailbox, delete=self.delete)
        return Session(
            mailbox=owner,
            lease=lease or self.state.lease(owner),
            maildrop=self.server.open(),
            objects=StoreLog(self.store),
            ledger=self.ledger,
            committer=self.committer,
            in_flight=self.in_flight,
            settings=SessionSettings(
                limits=SessionLimits(self.session_messages, 10**12, 3600),
                batch_limits=BatchLimits(self.batch_messages, self.batch_octets, 10**6),
                thresholds=Thresholds(self.part_threshold, 10**6),
                deployment="test",
                strict_evidence=self.strict,
            ),
            brake=self.brake,
            stop=self.stop,
            isolated=isolated,
            recognise=self.recognise,
        ).run()

    def poll(self) -> SessionReport:
        """Sessions as the poller holds them: after one that left suspects, isolated ones."""
        isolated, self.suspected = self.suspected, False
        report = self.session(isolated=isolated)
        while isolated and report.suspects:
            report = self.session(isolated=True)
        self.suspected = bool(report.suspects)
        return report

    def sessions_until_done(self) -> None:
        """Sessions, as the schedule would hold them, without further faults."""
        self.kill_at = 0
        for _ in range(10):
            report = self.poll()
            if not report.left and not self.server.messages:
                return

    # What must hold, told from the journals of the fakes alone

    def records(self) -> list[Record]:
        """Every record that is readable in the store."""
        return [
            record
            for key in self.store.commits()
            for record in CommitReader(self.store, key).records()
        ]

    def rebuilt(self) -> set[str]:
        """The hashes of the octets that the store gives back, each message rebuilt and hashed."""
        return {
            hashlib.sha256(b"".join(rebuild_message(self.store, record))).hexdigest()
            for record in self.records()
        }

    def assert_nothing_is_lost(self) -> None:
        """Each message delivered is on its server, or in the store octet for octet."""
        stored = self.rebuilt()
        left = {hashlib.sha256(one.octets).hexdigest() for one in self.server.messages}
        assert set(self.delivered) <= stored | left
        assert set(self.server.deleted()) <= stored

    def assert_nothing_is_seen_twice(self) -> None:
        """The outbox holds one event for each committed message, and no id twice."""
        ids = [outgoing.event.id for outgoing in self.state.kept.outbox]
        assert len(ids) == len(set(ids))

    def assert_all_is_published(self) -> None:
        """Everything delivered has its event, byte for byte as its record says."""
        self.assert_nothing_is_lost()
        self.assert_nothing_is_seen_twice()
        stored = {event for record in self.records() for event in record.events}
        published = {outgoing.event for outgoing in self.state.kept.outbox}
        assert published <= stored
        assert len(published) == len(self.delivered)
