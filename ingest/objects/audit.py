"""Proving that messages can be had back from the store, octet for octet."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from ingest.errors import ObjectMissing, ProofFailed, StoreError, StoreUnavailable
from ingest.intake.ports import ObjectStore
from ingest.model import Record, record_id, version_id
from ingest.objects import keys
from ingest.objects.commits import CommitReader, rebuild_message

# damaged: what is there is not what was stored. missing: an object is gone. unreadable: the store
# would not give it, so that nothing is known.
Outcome = Literal["proven", "damaged", "missing", "unreadable"]

_RESTORE = "restore the object from a backup, or an earlier version of it"
_UNREADABLE_IN_A_ROW = 10  # then it is the store, and not the objects


class Verdict(NamedTuple):
    """Whether a message can be had back, and if not, why."""

    outcome: Outcome
    key: str = ""  # of the object that is wrong
    reason: str = ""  # what is wrong with it
    remedy: str = ""

    @property
    def lost(self) -> bool:
        """Whether the store has lost or altered what was durable in it."""
        return self.outcome in {"damaged", "missing"}


class Examined(NamedTuple):
    """One message of a batch, or all of a batch whose commit object can't be read."""

    batch: str
    position: int | None  # in the batch; None: all of it
    record: Record | None  # None: it can't be read
    verdict: Verdict


def examine(
    store: ObjectStore,
    batch: str,
    position: int | None = None,
    wanted: Callable[[Record], bool] = lambda _: True,
) -> Iterator[Examined]:
    """Prove a batch's messages, or the one at that position.

    One message is read at a time, in blocks, with flat memory; each part twice. What is wrong with
    an object is a verdict; nothing is raised.

    Args:
        store: where they are.
        batch: which.
        position: of one record.
        wanted: says of a record whether it is to be proven.
    """
    reader = CommitReader(store, keys.commit(batch))
    for place, record in _records(reader, batch, position):
        if isinstance(record, Verdict):
            yield Examined(batch, place, None, record)
        elif wanted(record):
            yield Examined(batch, place, record, _prove(store, reader, record, (batch, place)))


def positions(
    store: ObjectStore, batch: str, wanted: Callable[[Record], bool] | None = None
) -> list[int | None]:
    """Where the records of a batch stand, for `examine`; those that are wanted, or all.

    [None], that is the batch as a whole, where its commit object can't be read.
    """
    reader = CommitReader(store, keys.commit(batch))
    try:
        if wanted is None:
            return list(reader.indexes)
        return [record.index for record in reader.records() if wanted(record)]
    except StoreError:
        return [None]


class Patience:
    """What an audit has with a store that gives nothing any more."""

    def __init__(self) -> None:
        self._unreadable = 0  # in a row

    def note(self, verdict: Verdict) -> None:
        """One more message was examined.

        Raises:
            StoreUnavailable: so many in a row could not be read that it is the store's fault.
        """
        self._unreadable = self._unreadable + 1 if verdict.outcome == "unreadable" else 0
        if self._unreadable == _UNREADABLE_IN_A_ROW:
            raise StoreUnavailable(
                f"{self._unreadable} messages in a row could not be read: {verdict.reason}",
                remedy=verdict.remedy,
            )


def _records(
    reader: CommitReader, batch: str, position: int | None
) -> Iterator[tuple[int | None, Record | Verdict]]:
    """The records, or what is wrong with them: all by one read, or one by one after damage."""
    key = keys.commit(batch)
    try:
        places = reader.indexes if position is None else [position]
    except StoreError as error:
        yield position, _wrong(key, error)
        return
    found = reader.records() if position is None else iter(())
    for place in places:
        try:
            yield place, next(found, None) or reader.record(place)
        except StoreError as error:
            yield place, _wrong(key, error)


def _prove(
    store: ObjectStore, reader: CommitReader, record: Record, place: tuple[str, int | None]
) -> Verdict:
    key = commit = keys.commit(place[0])
    try:
        _identify(record, place)
        for part in record.parts:
            if part.key:
                key = part.key
                _compare(store.read(key), part.octets, part.sha256)
        skeleton: Iterable[bytes]
        if record.skeleton.key:
            key = record.skeleton.key
            _compare(store.read(key), record.skeleton.octets, record.skeleton.sha256)
            skeleton = store.read(key)
        else:
            key = commit
            skeleton = [reader.skeleton(record.index)]
            _compare(skeleton, record.skeleton.octets, record.skeleton.sha256)
        key = commit  # all octets are right: if the message is not, its program is wrong
        for _ in rebuild_message(store, record, skeleton):
            pass
    except StoreError as error:
        return _wrong(key, error)
    return Verdict("proven")


def _identify(record: Record, place: tuple[str, int | None]) -> None:
    """Whether it is the record that belongs there.

    Raises:
        ProofFailed: it is not.
    """
    if record.version_of:
        expected = version_id(record.version_of, record.batch)
    else:
        expected = record_id(record.mailbox, record.sha256, rehearsal=record.rehearsal)
    if record.id != expected or (record.batch, record.index) != place:
        raise ProofFailed(f"has a record {record.index} that is not the one that was stored there")


def _compare(blocks: Iterable[bytes], octets: int, sha256: str) -> None:
    """Whether an object is what was stored.

    Raises:
        ProofFailed: it is not.
    """
    digest, size = hashlib.sha256(), 0
    for block in blocks:
        digest.update(block)
        size += len(block)
    if size != octets:
        raise ProofFailed(f"has {size} octets, and {octets} were stored")
    if digest.hexdigest() != sha256:
        raise ProofFailed("has other octets than were stored: the SHA-256 differs")


def _wrong(key: str, error: StoreError) -> Verdict:
    match error:
        case ObjectMissing():
            return Verdict("missing", key, "is not in the store", _RESTORE)
        case ProofFailed():
            reason = str(error).removeprefix(f"the commit object {key} ")
            return Verdict("damaged", key, reason, _RESTORE)
        case _:
            return Verdict("unreadable", key, str(error), error.remedy)
