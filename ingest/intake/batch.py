"""One batch: the records that one object commits together, like a group commit in a database."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import NamedTuple

from ingest.errors import StoreUnavailable
from ingest.intake.ports import Commitment, Log, PartWriter
from ingest.model import Listed, Record
from ingest.observability import metrics

# A message of so many octets is a batch of its own, so that no other waits for it.
LARGE_OCTETS = 16 * 1024 * 1024

# The sweep takes a batch without a commit object away after seven days, by the store's clock. A
# batch so much younger, by ours, can't meet it.
_OLDEST_SECONDS = 6 * 3600


class BatchLimits(NamedTuple):
    """When a batch is full."""

    messages: int
    octets: int  # of records and skeletons kept in memory
    milliseconds: int  # since its first message


class Member(NamedTuple):
    """One message of a batch."""

    listed: Listed
    record: Record
    skeleton: bytes | None  # None: an object of its own
    delete: bool  # DELE follows the commit
    memorable: bool  # the ledger may know it by its unique-id from now on


class Batch:
    """Records that join until the batch is full, then are committed by one object.

    Args:
        log: where the batch is written.
        limits: when it is full.
        session: the id of the session that retrieves its messages; empty: none does.
    """

    def __init__(self, log: Log, limits: BatchLimits, session: str = "") -> None:
        self.id = log.begin()
        self.session = session
        self.members: list[Member] = []
        self._log = log
        self._limits = limits
        self._octets = 0
        self._parts = 0
        self._writing: list[Future[None]] = []
        self._discarded: list[str] = []
        self._begun = self._opened = time.monotonic()
        self._begun_at = time.time()

    def create_part(self) -> PartWriter:
        """Begin to write an object of this batch."""
        self._parts += 1
        return self._log.create_part(self.id, self._parts)

    def await_part(self, writing: Future[None]) -> None:
        """The batch must not be committed before this object is durable."""
        self._writing.append(writing)

    def discard(self, key: str) -> None:
        """No record will refer to this object."""
        self._discarded.append(key)

    def join(self, member: Member) -> None:
        """Take in one message."""
        if not self.members:
            self._opened = time.monotonic()
        self.members.append(member)
        self._octets += len(member.skeleton or b"") + _weight(member.record)

    @property
    def full(self) -> bool:
        """Whether it should be committed before another message joins."""
        return bool(self.members) and (
            self.members[-1].record.octets >= LARGE_OCTETS
            or len(self.members) >= self._limits.messages
            or self._octets >= self._limits.octets
            or (time.monotonic() - self._opened) * 1000 >= self._limits.milliseconds
        )

    def write(self) -> None:
        """Write the commit object, after every part is durable. The batch is ours on return.

        Raises:
            StoreError: a part or the commit object could not be written.
        """
        with metrics.batch_write_seconds.time():
            self._write()

    def _write(self) -> None:
        for writing in self._writing:
            writing.result()
        if self._discarded:
            self._log.discard(self._discarded)
        # By both clocks: the monotonic one stands still while the machine is suspended.
        age = max(time.monotonic() - self._begun, time.time() - self._begun_at)
        if age > _OLDEST_SECONDS:
            raise StoreUnavailable(
                f"batch {self.id} was begun more than {_OLDEST_SECONDS // 3600} hours ago",
                remedy="its messages are retrieved again; see why store or server are so slow",
            )
        self._log.commit(self.id, [(member.record, member.skeleton) for member in self.members])
        # A session may be at its next batch for long before it gets to this one.
        self.members = [member._replace(skeleton=None) for member in self.members]

    def commitments(self) -> list[Commitment]:
        """What the ledger takes in once the batch is durable."""
        return [
            Commitment(member.record, member.listed.unique_id if member.memorable else None)
            for member in self.members
        ]


def _weight(record: Record) -> int:
    """About how many octets a record takes: lists and names are what a hostile message makes long.

    Beside each text there is the same in the event, and in the JSON that is written.
    """
    envelope = record.envelope
    texts = [
        *(envelope.message_id, envelope.subject, record.preview),
        *(envelope.in_reply_to + envelope.references),
        *(envelope.sender + envelope.to + envelope.cc + envelope.reply_to),
    ]
    for part in record.parts:
        texts += (part.filename, part.filename_raw, part.content_id)
    listed = len(texts) + len(record.parts) + len(record.defects) + len(record.program)
    return 256 * listed + 4 * sum(map(len, texts)) + sum(len(event.json) for event in record.events)
