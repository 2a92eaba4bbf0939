"""Schedule and ledger in memory: what `ingest.state` does in Redis, with the same answers.

Faults: a function in `faults` is called with the name of each operation before it begins, and may
raise. `clock` moves only when the test moves it. `snapshot` and `roll_back` are a Redis that was
restored from an old copy.
"""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from ingest.errors import LeaseLost, StateUnavailable
from ingest.intake.ports import Commitment
from ingest.model import Horizon, Lease, LedgerEntry, Mailbox, Record, StoredEvent
from ingest.state.ledger import FORGET_EVERY, RECORDS_KEPT, UNLISTED_KEPT
from ingest.state.schedule import Depth, spread


@dataclass
class Outgoing:
    """One event in the outbox."""

    event: StoredEvent
    mailbox: str


@dataclass
class Kept:
    """What a Redis keeps."""

    epoch: bool = True
    due: dict[str, dict[str, float]] = field(default_factory=dict)
    leases: dict[str, dict[str, tuple[float, str]]] = field(default_factory=dict)
    standing: dict[str, bytes] = field(default_factory=dict)
    entries: dict[str, dict[str, LedgerEntry]] = field(default_factory=dict)
    records: dict[str, dict[str, float]] = field(default_factory=dict)
    attempts: dict[str, dict[str, int]] = field(default_factory=dict)
    gone: dict[str, dict[str, float]] = field(default_factory=dict)
    compared: dict[str, float] = field(default_factory=dict)
    batches: set[str] = field(default_factory=set)
    outbox: list[Outgoing] = field(default_factory=list)
    waits_since: float | None = None  # the oldest event that some sink lacks; None: all have all


class MemoryState:
    """One Redis in memory, for a `MemorySchedule` and a `MemoryLedger`."""

    def __init__(self, clock: float = 1_700_000_000.0) -> None:
        self.clock = clock
        self.kept = Kept()
        self.faults: list[Callable[[str], None]] = []
        self.calls: list[str] = []

    def begin(self, operation: str) -> None:
        """Note an operation, and let the faults have their say."""
        self.calls.append(operation)
        for fault in list(self.faults):
            fault(operation)

    def snapshot(self) -> Kept:
        """A copy of all that is kept."""
        return copy.deepcopy(self.kept)

    def roll_back(self, snapshot: Kept) -> None:
        """Be as it was at the time of the snapshot."""
        self.kept = copy.deepcopy(snapshot)

    def lose_everything(self) -> None:
        """An empty Redis: without an epoch nothing can be claimed."""
        self.kept = Kept(epoch=False)

    def holds(self, lease: Lease) -> bool:
        """Whether the lease is the one that the mailbox has."""
        held = self.kept.leases.get(lease.group, {}).get(lease.mailbox)
        return held is not None and held[1] == lease.id

    def lapsed(self, lease: Lease) -> bool:
        """Whether it ended so long ago that its holder must have slept."""
        expiry, _ = self.kept.leases[lease.group][lease.mailbox]
        return self.clock - expiry > 3600

    def steal(self, lease: Lease) -> None:
        """Let somebody else have the mailbox."""
        self.kept.leases.setdefault(lease.group, {})[lease.mailbox] = (self.clock + 60, "other")

    def lease(self, mailbox: Mailbox, seconds: float = 60) -> Lease:
        """A lease on the mailbox, whoever had one."""
        lease = Lease(mailbox.id, mailbox.group, secrets.token_hex(16))
        self.kept.due.get(lease.group, {}).pop(lease.mailbox, None)
        held = self.kept.leases.setdefault(lease.group, {})
        held[lease.mailbox] = (self.clock + seconds, lease.id)
        return lease


class MemorySchedule:
    """See `ingest.state.schedule.Schedule`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    def groups_due(self) -> Mapping[str, int]:
        self._state.begin("groups_due")
        if not self._state.kept.epoch:
            return {}
        now, found = self._state.clock, dict[str, int]()
        for group, due in self._state.kept.due.items():
            found[group] = sum(time <= now for time in due.values())
        for group, leases in self._state.kept.leases.items():
            late = sum(expiry <= now for expiry, _ in leases.values())
            found[group] = found.get(group, 0) + late
        return {group: count for group, count in found.items() if count}

    def claim(self, group: str, slots: int, lease_seconds: float) -> Lease | None:
        self._state.begin("claim")
        if not self._state.kept.epoch:
            return None
        now, due, leases = self._state.clock, self._due(group), self._leases(group)
        for mailbox, (expiry, _) in list(leases.items()):
            if expiry <= now:
                due[mailbox] = expiry
                del leases[mailbox]
        ready = sorted((time, mailbox) for mailbox, time in due.items() if time <= now)
        if not ready or len(leases) >= slots:
            return None
        return self._take(Lease(ready[0][1], group, secrets.token_hex(16)), lease_seconds)

    def claim_mailbox(self, mailbox: Mailbox, lease_seconds: float) -> Lease | None:
        self._state.begin("claim_mailbox")
        if not self._state.kept.epoch:
            raise StateUnavailable("Redis is not compared with the object store yet")
        held = self._leases(mailbox.group).get(mailbox.id)
        if held and held[0] > self._state.clock:
            return None
        return self._take(Lease(mailbox.id, mailbox.group, secrets.token_hex(16)), lease_seconds)

    def leased_until(self, mailbox: Mailbox) -> datetime | None:
        held = self._leases(mailbox.group).get(mailbox.id)
        return None if held is None else datetime.fromtimestamp(held[0], UTC)

    def renew(self, leases: Collection[Lease], lease_seconds: float) -> set[Lease]:
        self._state.begin("renew")
        lost = {
            lease for lease in leases if not self._state.holds(lease) or self._state.lapsed(lease)
        }
        for lease in set(leases) - lost:
            self._leases(lease.group)[lease.mailbox] = (
                self._state.clock + lease_seconds,
                lease.id,
            )
        return lost

    def standing(self, mailbox: str) -> bytes:
        self._state.begin("standing")
        return self._state.kept.standing.get(mailbox, b"")

    def release(self, lease: Lease, due_in: float | None, standing: bytes = b"") -> bool:
        self._state.begin("release")
        if not self._state.holds(lease):
            return False
        del self._leases(lease.group)[lease.mailbox]
        if due_in is not None:
            self._due(lease.group)[lease.mailbox] = self._state.clock + due_in
        if standing:
            self._state.kept.standing[lease.mailbox] = standing
        return True

    def now(self) -> float:
        return self._state.clock

    def schedule(self, mailbox: Mailbox, due_in: float) -> None:
        self._state.begin("schedule")
        if mailbox.id not in self._leases(mailbox.group):
            self._due(mailbox.group)[mailbox.id] = self._state.clock + due_in

    def schedule_new(self, mailboxes: Iterable[Mailbox], within: float) -> int:
        new = [
            mailbox
            for mailbox in mailboxes
            if mailbox.id not in self._leases(mailbox.group)
            and mailbox.id not in self._due(mailbox.group)
        ]
        for mailbox in new:
            self.schedule(mailbox, spread(mailbox.id, within))
        return len(new)

    def unschedule(self, mailbox: str, group: str) -> None:
        self._state.begin("unschedule")
        self._due(group).pop(mailbox, None)
        self._leases(group).pop(mailbox, None)

    def depth(self) -> Depth:
        due = [time for group in self._state.kept.due.values() for time in group.values()]
        late = [self._state.clock - time for time in due if time <= self._state.clock]
        leased = sum(map(len, self._state.kept.leases.values()))
        return Depth(len(due), len(late), leased, max(late, default=0.0))

    def _take(self, lease: Lease, seconds: float) -> Lease:
        self._leases(lease.group)[lease.mailbox] = (self._state.clock + seconds, lease.id)
        self._due(lease.group).pop(lease.mailbox, None)
        return lease

    def _due(self, group: str) -> dict[str, float]:
        return self._state.kept.due.setdefault(group, {})

    def _leases(self, group: str) -> dict[str, tuple[float, str]]:
        return self._state.kept.leases.setdefault(group, {})


class MemoryLedger:
    """See `ingest.state.ledger.RedisLedger`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    def horizon(self, mailbox: str) -> Horizon:
        waits = self._state.kept.waits_since
        return Horizon(self._state.clock, self._state.clock if waits is None else waits)

    def known(self, mailbox: str, unique_ids: Sequence[str]) -> Mapping[str, LedgerEntry]:
        self._state.begin("known")
        entries = self._state.kept.entries.get(mailbox, {})
        return {name: entries[name] for name in unique_ids if name in entries}

    def committed(self, mailbox: str, record_ids: Sequence[str]) -> Mapping[str, float]:
        self._state.begin("committed")
        records = self._state.kept.records.get(mailbox, {})
        return {record: records[record] for record in record_ids if record in records}

    def attempts(self, mailbox: str, unique_ids: Sequence[str]) -> Mapping[str, int]:
        self._state.begin("attempts")
        counts = self._state.kept.attempts.get(mailbox, {})
        return {name: counts[name] for name in unique_ids if name in counts}

    def count_attempts(self, lease: Lease, unique_ids: Sequence[str]) -> Mapping[str, int]:
        self._checked("count_attempts", lease)
        attempts = self._state.kept.attempts.setdefault(lease.mailbox, {})
        for name in unique_ids:
            attempts[name] = attempts.get(name, 0) + 1
        return {name: attempts[name] for name in unique_ids}

    def take_back(self, lease: Lease, unique_ids: Sequence[str]) -> None:
        self._checked("take_back", lease)
        attempts = self._state.kept.attempts.setdefault(lease.mailbox, {})
        for name in unique_ids:
            attempts[name] = attempts.get(name, 0) - 1
            if attempts[name] <= 0:
                del attempts[name]

    def commit(self, lease: Lease, commitments: Sequence[Commitment]) -> int:
        self._checked("commit", lease)
        if not commitments:
            return 0
        if self._state.lapsed(lease):
            raise LeaseLost(f"the lease on mailbox {lease.mailbox} was lost")
        attempts = self._state.kept.attempts.get(lease.mailbox, {})
        put = 0
        for record, unique_id in commitments:
            put += self._take_in(lease.mailbox, record, unique_id, int(self._state.clock))
            attempts.pop(unique_id or "", None)
        self._state.kept.batches.add(commitments[0].record.batch)
        return put

    def settle(self, lease: Lease, unique_ids: Collection[str]) -> None:
        self._checked("settle", lease)
        entries = self._state.kept.entries.get(lease.mailbox, {})
        for name in set(unique_ids) & set(entries):
            entries[name] = msgspec.structs.replace(entries[name], deleted=True)

    def forget(self, lease: Lease, listed: Collection[str]) -> None:
        kept, mailbox, now = self._state.kept, lease.mailbox, self._state.clock
        if now < kept.compared.get(mailbox, 0.0) + FORGET_EVERY:
            return
        self._checked("forget", lease)
        kept.compared[mailbox] = now
        entries, records = kept.entries.get(mailbox, {}), kept.records.get(mailbox, {})
        gone, attempts = kept.gone.setdefault(mailbox, {}), kept.attempts.get(mailbox, {})
        standing = {entry.record_id for entry in entries.values()}
        for name in set(entries):
            if name in listed:
                gone.pop(name, None)
            else:
                gone.setdefault(name, now)
        for name in [name for name, since in gone.items() if since < now - UNLISTED_KEPT]:
            entries.pop(name, None)
            del gone[name]
        for record in [record for record, time in records.items() if time < now - RECORDS_KEPT]:
            if record not in standing:
                del records[record]
        for name in set(attempts) - set(listed):
            del attempts[name]

    def restore(self, batch: str, records: Sequence[Record]) -> int:
        self._state.begin("restore")
        put = 0
        for record in records:
            time = int(record.retrieved_at.timestamp())
            put += self._take_in(record.mailbox, record, record.memorable_id, time, restoring=True)
        self._state.kept.batches.add(batch)
        return put

    def unknown_batches(self, listed: Sequence[str]) -> list[str]:
        self._state.begin("unknown_batches")
        return [batch for batch in listed if batch not in self._state.kept.batches]

    def drop(self, mailbox: str) -> None:
        kept = self._state.kept
        for of_mailbox in (kept.entries, kept.records, kept.attempts, kept.gone, kept.compared):
            of_mailbox.pop(mailbox, None)
        kept.standing.pop(mailbox, None)

    def _checked(self, operation: str, lease: Lease) -> None:
        self._state.begin(operation)
        if not self._state.holds(lease):
            raise LeaseLost(f"the lease on mailbox {lease.mailbox} was lost")

    def _take_in(
        self,
        mailbox: str,
        record: Record,
        unique_id: str | None,
        time: int,
        *,
        restoring: bool = False,
    ) -> int:
        kept = self._state.kept
        records = kept.records.setdefault(mailbox, {})
        events = record.events if record.id not in records else ()
        kept.outbox += [Outgoing(event, mailbox) for event in events]
        records.setdefault(record.id, float(time))
        entries = kept.entries.setdefault(mailbox, {})
        if unique_id and not (restoring and unique_id in entries):
            entries[unique_id] = LedgerEntry(
                record_id=record.id,
                listed_octets=record.listed_octets,
                header_sha256=record.header_sha256,
                committed_at=records[record.id],
                rehearsal=record.rehearsal,
            )
        return len(events)
