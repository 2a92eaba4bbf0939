"""Rebuilding the index from the object store: Redis lost it, or a worker died at its commit."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple, Protocol

import structlog
from redis import Redis

from ingest.errors import ObjectMissing, ProofFailed, StateUnavailable
from ingest.failpoints import reach
from ingest.intake.ports import ObjectStore
from ingest.model import Record
from ingest.observability import metrics
from ingest.state.checkpoint import Checkpoint, Checkpoints
from ingest.state.commands import PREFIX, Ahead, Argument, chunks
from ingest.state.ledger import RedisLedger
from ingest.state.registry import Registry
from ingest.state.schedule import Schedule

log = structlog.get_logger()

LOCK_SECONDS: Final = 120
_EXTEND_EVERY: Final = 20


class Commit(NamedTuple):
    """One commit object: its batch and the records in it."""

    batch: str
    records: Sequence[Record]


class ReadBackDone(NamedTuple):
    """What a read-back found."""

    since: datetime | None  # None: the whole log was read
    mailboxes: int
    batches: int
    events: int  # put into the outbox


class Log(Protocol):
    """The log of commit objects. See `ingest.objects.log.StoreLog`."""

    def committed(self, since: datetime | None = None) -> Iterable[str]:
        """The batches begun at or about that time or later (None: all), oldest first."""

    def records(self, batch: str) -> Sequence[Record]:
        """What was committed in the batch."""


def _undamaged(log_of_commits: Log, batch: str) -> Commit | None:
    """The batch; None where its commit object is damaged, which is said and holds up no other."""
    try:
        return Commit(batch, log_of_commits.records(batch))
    except (ProofFailed, ObjectMissing) as error:
        metrics.count_error(error)
        remedy = "restore it from a backup, then: ingest reconcile --since, from before its time"
        log.error("batch_not_read_back", batch=batch, reason=str(error), remedy=remedy)  # noqa: TRY400 - no bug of ours
        return None


class ReadBack:
    """Reads the log back. One worker does it; until it is done, nothing can be claimed.

    Args:
        client: Redis.
        store: where mailboxes and checkpoint are.
        commits: the log of commit objects.
        spread_seconds: the first polls of all mailboxes are spread over so many seconds.
        beat: called for each mailbox and commit object: the read-back is at work.
        ahead: how commit objects and mailboxes are read.
        prefix: of our keys.
    """

    def __init__(
        self,
        client: Redis,
        store: ObjectStore,
        commits: Log,
        spread_seconds: float,
        *,
        beat: Callable[[], None] = lambda: None,
        ahead: Ahead = map,
        prefix: str = PREFIX,
    ) -> None:
        self._store = store
        self._checkpoints = Checkpoints(client, store, prefix)
        self._redis = self._checkpoints.commands
        self._ledger = RedisLedger(client, prefix)
        self._registry = Registry(client, store, prefix)
        self._schedule = Schedule(client, prefix)
        self._commits = commits
        self._spread_seconds = spread_seconds
        self._beat = beat
        self._ahead = ahead
        self._lock = self._redis.key("read-back")
        self._extended = 0.0  # when the lock was, monotonic

    def restore_mailboxes(self) -> None:
        """Let Redis know the mailboxes again where it lost data; its epoch stays missing.

        For commands, which can't wait for a long log. A new installation, which has none, is
        whole at once.

        Raises:
            StoreChanged: the store is not the one that Redis knows.
            StateError, StoreError: they may not all be known.
        """
        if self._checkpoints.epoch() is not None or not self._checkpoints.lost():
            return
        if self._checkpoints.read() is None:
            self.run_if_lost()
        else:
            self._restore_mailboxes(self._beat)

    def run_if_lost(self) -> ReadBackDone | None:
        """Read back what Redis lost, if nobody else is doing it; None: there was no need.

        Of one that was merely restarted, mailboxes and batches are compared with the store: it may
        have lost what was written last.

        Raises:
            StateUnavailable: the lock was lost, or Redis died; it has to be done again.
            StoreChanged: the store is not the one that Redis knows.
            StateError, StoreError: it is not done, and the next call begins again.
        """
        if not self._checkpoints.lost() and self._checkpoints.whole():
            return None
        lock_id = secrets.token_hex(16)
        if not self._redis.run("SET", self._lock, lock_id, "NX", "EX", LOCK_SECONDS):
            return None
        try:
            if self._checkpoints.lost():
                return self._run(lock_id)
            if not self._checkpoints.whole():
                return self._catch_up(lock_id)
            return None  # somebody finished before the lock was ours
        finally:
            self._give_up(lock_id)

    def compare(self, listed: Iterable[str], at_work: Callable[[], None]) -> tuple[int, int]:
        """Read back those of the listed batches that Redis doesn't know: how many, their events.

        For the batches of the last hours, all the time: the worker of an unknown one died between
        its commit and the ledger. Leave out those of the last minutes: they are being committed.

        `at_work` is called after each one that is read back, and whenever thousands were compared.
        """
        batches, events = 0, 0
        for commit in self._read(self._unknown(listed, at_work)):
            put = self._ledger.restore(commit.batch, commit.records)
            log.warning("batch_read_back", batch=commit.batch, events=put)
            batches, events = batches + 1, events + put
            at_work()
        return batches, events

    def _unknown(self, listed: Iterable[str], at_work: Callable[[], None]) -> Iterator[str]:
        for chunk in chunks(listed):
            yield from self._ledger.unknown_batches(chunk)
            at_work()

    def _read(self, batches: Iterable[str]) -> Iterator[Commit]:
        commits = self._ahead(partial(_undamaged, self._commits), batches)
        return (commit for commit in commits if commit)

    def _run(self, lock_id: str) -> ReadBackDone:
        checkpoint = self._checkpoints.read()
        since = checkpoint.before if checkpoint else None
        run_id = self._checkpoints.run_id()
        # A rolled-back Redis has an epoch: without it, nothing can be claimed from here on.
        self._checkpoints.withdraw()
        log.warning("read_back_begun", since=since and since.isoformat())
        mailboxes = self._let_know(lock_id)
        batches, events = self._restore(since, lock_id)
        self._finish(checkpoint, lock_id, run_id)
        log.info("read_back_done", mailboxes=mailboxes, batches=batches, events=events)
        return ReadBackDone(since, mailboxes, batches, events)

    def _catch_up(self, lock_id: str) -> ReadBackDone:
        """Compare a Redis that was restarted since it was whole."""
        # A failover back to the run that was whole would bring what this one lacks, too.
        self._checkpoints.distrust()
        look, until = self._checkpoints.look(), self._store.now()
        checkpoint = self._checkpoints.read()
        since = (checkpoint.compared or checkpoint.before) if checkpoint else None
        log.warning("redis_restarted", since=since and since.isoformat())

        def at_work() -> None:
            self._go_on(lock_id)
            look.step()

        mailboxes = self._let_know(lock_id)
        batches, events = self.compare(self._listed(since, lock_id), at_work)
        self._end(lock_id, look.run_id)
        # Where each command starts Redis, nothing else says how far it was compared.
        self._checkpoints.write(until, look)
        log.info("redis_compared", mailboxes=mailboxes, batches=batches, events=events)
        return ReadBackDone(since, mailboxes, batches, events)

    def _listed(self, since: datetime | None, lock_id: str) -> Iterator[str]:
        for batch in self._commits.committed(since):
            self._go_on(lock_id)  # thousands may be known, and listing them takes its time
            yield batch

    def _let_know(self, lock_id: str) -> int:
        """Let Redis know the mailboxes, and poll those that aren't paused; how many."""
        self._extended = time.monotonic()
        self._restore_mailboxes(lambda: self._go_on(lock_id))
        mailboxes = [mailbox for mailbox in self._registry.list() if not mailbox.paused]
        self._schedule.schedule_new(mailboxes, self._spread_seconds)
        return len(mailboxes)

    def _restore_mailboxes(self, going_on: Callable[[], None]) -> None:
        restored = self._registry.restore(going_on, self._ahead)
        for mailbox in restored.removed:
            self._schedule.unschedule(mailbox.id, mailbox.group)
        for sentence in restored.refused:
            log.error("mailbox_not_restored", reason=sentence)

    def _restore(self, since: datetime | None, lock_id: str) -> tuple[int, int]:
        batches, events = 0, 0
        for commit in self._read(self._commits.committed(since)):
            events += self._ledger.restore(commit.batch, commit.records)
            batches += 1
            reach("batch-read-back")
            self._go_on(lock_id)
        return batches, events

    def _go_on(self, lock_id: str) -> None:
        """Show that we are at work, and keep the lock.

        Raises:
            StateUnavailable: the lock is lost.
        """
        self._beat()
        if time.monotonic() > self._extended + _EXTEND_EVERY:
            self._extend(lock_id)
            self._extended = time.monotonic()

    def _finish(self, checkpoint: Checkpoint | None, lock_id: str, run_id: str) -> None:
        """Name the new epoch in the store, then in Redis.

        In the other order, a death between the two would leave a Redis that looks lost.
        """
        self._extend(lock_id)
        epoch = secrets.token_hex(16)
        count = max(self._checkpoints.count(), checkpoint.count if checkpoint else 0) + 1
        before = checkpoint.before if checkpoint else None
        self._checkpoints.put(Checkpoint(before=before, epoch=epoch, count=count, run_id=run_id))
        self._end(lock_id, run_id, epoch, count)

    def _end(self, lock_id: str, *whole: Argument) -> None:
        """Let mailboxes be claimed, by this run of Redis (and in this epoch, of so many counts).

        Raises:
            StateUnavailable: it may not be whole.
        """
        names = ("run-id", "epoch", "checkpoints")
        keys = [self._lock, *map(self._redis.key, names)]
        if not self._redis.call("finish_read_back", keys, [lock_id, *whole]):
            raise self._lock_lost()

    def _extend(self, lock_id: str) -> None:
        if not self._redis.call("extend", [self._lock], [lock_id, LOCK_SECONDS]):
            raise self._lock_lost()

    def _give_up(self, lock_id: str) -> None:
        """Let another one try at once after a failure, where Redis can be told."""
        try:
            self._redis.call("extend", [self._lock], [lock_id, 0])
        except StateUnavailable:
            log.info("read_back_lock_left")  # it expires

    @staticmethod
    def _lock_lost() -> StateUnavailable:
        return StateUnavailable(
            "the read-back took its lock's time between two objects, or Redis died meanwhile, and "
            "it was stopped",
            remedy="a worker does it again; see how slow the object store is",
        )
