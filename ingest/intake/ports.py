"""What the intake asks of the world. Adapters live in `transport`, `objects` and `state`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from datetime import datetime
from typing import NamedTuple, Protocol, Self

from ingest.model import Horizon, Lease, LedgerEntry, Listed, Mailbox, Octets, Record


class Retrieval(Protocol):
    """One message on its way in, the answer to RETR."""

    @property
    def number(self) -> int:
        """Its message-number in this session."""

    @property
    def refusal(self) -> str | None:
        """The server's text where it answered -ERR to this RETR; the session goes on."""

    def __iter__(self) -> Iterator[memoryview]:
        """The unstuffed octets, each view valid until the next one is asked for.

        The iteration ends only where the message's terminator stood.

        Raises:
            SessionError: the connection broke, went idle, or broke POP3 before that.
        """


class Farewell(NamedTuple):
    """What a session's QUIT +OK confirms."""

    deleted: frozenset[int]  # message-numbers whose DELE was answered +OK
    refused: Mapping[int, str]  # message-number to the text of its -ERR


class Maildrop(Protocol):
    """One signed-in session in the TRANSACTION state (RFC 1939 section 5)."""

    @property
    def login_delay(self) -> int:
        """Seconds that the server wants between two sessions (RFC 2449 section 6.5); 0: any."""

    def listing(self) -> Sequence[Listed]:
        """STAT, LIST and UIDL, merged, in message-number order."""

    def header_blocks(self, numbers: Iterable[int]) -> Iterator[tuple[int, bytes | None]]:
        """TOP n 0 of each: the octets up to and with the empty line.

        None where the server refuses TOP or the block is over the limit.
        """

    def retrieve(self, numbers: Iterable[int]) -> Iterator[Retrieval]:
        """RETR each number, pipelined within a bounded window.

        `numbers` is asked for no more than the window needs, so it may stop early. Every message
        that was asked for is yielded; its octets are read (or skipped) before the next is.
        """

    def delete(self, number: int) -> None:
        """Queue DELE: it goes out with the next command; QUIT collects the answers."""

    def keep_alive(self) -> None:
        """Let no autologout timer of the server run out (RFC 1939 section 3): NOOP, when due.

        To be called every second or so where nothing else is sent. Does nothing while messages
        that were asked for are still on their way.

        Raises:
            SessionError: the connection broke, went idle, or broke POP3, or we stop.
        """

    def quit(self) -> Farewell:
        """Collect all answers, send QUIT, wait for +OK, close.

        Raises:
            SessionError: no +OK came; nothing may be settled.
        """

    def drop(self) -> None:
        """Close the connection without QUIT: the server deletes nothing. Never raises."""


class PartWriter(AbstractContextManager["PartWriter"], Protocol):
    """One object being written. Leaving the block without `commit()` aborts it."""

    @property
    def key(self) -> str:
        """The object's key."""

    def write(self, octets: Octets) -> None:
        """Append. The octets are copied or written before this returns.

        Raises:
            StoreError: the store failed; also for a failure of an earlier block.
        """

    def commit(self) -> Future[None]:
        """No more octets. The object exists and is durable when the future is done.

        The future's exception is a StoreError.
        """

    def __enter__(self) -> Self: ...


class StoredObject(NamedTuple):
    """One object as the store lists it."""

    key: str
    octets: int
    modified: datetime  # by the store's clock


class ObjectStore(Protocol):
    """An object store: S3, a directory, or memory. Nothing is ever overwritten but settings.

    Every method raises StoreError (StoreUnavailable, StoreRefused, StoreFull, ObjectMissing).
    Keys are relative to the configured prefix and use `/`.
    """

    def create(self, key: str, content_type: str = "application/octet-stream") -> PartWriter:
        """Begin to write an object of unknown size, with bounded memory."""

    def put(self, key: str, octets: bytes) -> None:
        """Write a small object; it is durable when this returns."""

    def read(self, key: str, start: int = 0, octets: int | None = None) -> Iterator[bytes]:
        """The object's octets from `start` on, in blocks."""

    def size(self, key: str) -> int:
        """The object's octets."""

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """Objects whose key begins with `prefix` and sorts after `after`, in key order."""

    def delete(self, keys: Collection[str]) -> None:
        """Remove objects; those that are gone already are no error."""

    def abort_uploads(self, before: datetime) -> int:
        """Abort unfinished uploads begun before then (by the store's clock); how many."""

    def now(self) -> datetime:
        """The store's clock."""

    def uri(self, key: str) -> str:
        """The address a consumer can fetch the object from: s3://bucket/key or file:///path."""


class Log(Protocol):
    """The log of commit objects. Raises StoreError."""

    def begin(self) -> str:
        """A new batch id: a ULID, so that the log is ordered in time."""

    def create_part(self, batch: str, number: int) -> PartWriter:
        """Begin to write the batch's part of that number."""

    def commit(self, batch: str, entries: Sequence[tuple[Record, bytes | None]]) -> None:
        """Write the commit object of the records, each with its skeleton.

        The skeleton is None where it is an object of its own. Durable when this returns.
        """

    def discard(self, keys: Sequence[str]) -> None:
        """Remove objects of a batch that is not committed yet. What can't be removed stays."""

    def uri(self, key: str) -> str:
        """The address of an object."""

    def record_uri(self, batch: str, index: int) -> str:
        """The address of one record in its commit object."""


class Commitment(NamedTuple):
    """One record as the ledger takes it in, after its batch is durable."""

    record: Record
    unique_id: str | None  # None: nothing to remember it by


class Ledger(Protocol):
    """The index in Redis. Every write checks the lease and raises LeaseLost.

    Every method raises StateError where Redis fails.
    """

    def horizon(self, mailbox: str) -> Horizon:
        """What is past, by Redis's clock, by which entries are dated."""

    def known(self, mailbox: str, unique_ids: Sequence[str]) -> Mapping[str, LedgerEntry]:
        """The entries of those unique-ids that have one."""

    def committed(self, mailbox: str, record_ids: Sequence[str]) -> Mapping[str, float]:
        """When each record that the ledger has published was committed (epoch seconds)."""

    def attempts(self, mailbox: str, unique_ids: Sequence[str]) -> Mapping[str, int]:
        """How often each was tried, where it was and the attempt left its count behind."""

    def count_attempts(self, lease: Lease, unique_ids: Sequence[str]) -> Mapping[str, int]:
        """Count one more attempt at each, durably, before it is retrieved; the new counts."""

    def take_back(self, lease: Lease, unique_ids: Sequence[str]) -> None:
        """Uncount those attempts: they ended by a cause that is not the message's fault."""

    def commit(self, lease: Lease, commitments: Sequence[Commitment]) -> int:
        """Remember a durable batch and put its new events into the outbox, in one step.

        Clears the attempts. A record that was published before publishes nothing again.
        Returns how many events were put. A lease that expired more than an hour ago counts as
        lost: its holder has slept.
        """

    def settle(self, lease: Lease, unique_ids: Collection[str]) -> None:
        """QUIT was answered +OK: these are deleted."""

    def forget(self, lease: Lease, listed: Collection[str]) -> None:
        """Compare the entries with a whole listing: what is long gone from it is forgotten.

        To be called with every complete listing; does nothing most of the time.
        """


class Stop(Protocol):
    """What ends a session early."""

    @property
    def closing(self) -> bool:
        """Start no more messages; finish what is started."""

    def check(self) -> None:
        """Called between reads.

        Raises:
            SessionStopped: the grace period is over.
            LeaseLost: somebody else may hold the mailbox now.
        """


class Brake(Protocol):
    """Stops all deletes. Raises StateError where Redis fails."""

    def reason(self) -> str:
        """Why nothing may be deleted now; empty: it may."""

    def allow(self, deletes: int) -> str:
        """The same, asked right before so many deletes are confirmed, which counts them."""


class Schedule(Protocol):
    """Due times and leases. Every method raises StateError where Redis fails."""

    def claim(self, group: str, slots: int, lease_seconds: float) -> Lease | None:
        """Take the group's earliest due mailbox, if it has one and a slot is free."""

    def standing(self, mailbox: str) -> bytes:
        """What `release` kept of the mailbox; empty: nothing yet."""

    def release(self, lease: Lease, due_in: float | None, standing: bytes = b"") -> bool:
        """Give the lease back; due in so many seconds, or (None) not at all.

        Keeps `standing`, unless it is empty. Changes nothing and returns False where the lease
        was lost.
        """

    def unschedule(self, mailbox: str, group: str) -> None:
        """Take the mailbox out of the group. A session it has there loses its lease."""

    def now(self) -> float:
        """Redis's clock: seconds since the epoch."""


class Mailboxes(Protocol):
    """The configured mailboxes."""

    def get(self, name_or_id: str) -> Mailbox:
        """One mailbox.

        Raises:
            MailboxUnreadable: this version can't read it.
            RegistryError: there is none of that name or id.
        """

    def update(self, mailbox: Mailbox, *, seen: Mailbox) -> Mailbox:
        """Keep a changed mailbox, if it still is as it was seen.

        Raises:
            RegistryError: it was changed or removed since.
        """
