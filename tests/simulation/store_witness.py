"""What must hold of the object store, told from what was written to it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from ingest.errors import StoreError
from ingest.events.schema import CloudEvent
from ingest.model import Record
from ingest.objects import keys
from ingest.objects.commits import CommitReader, rebuild_message
from ingest.state.checkpoint import Checkpoint
from tests.fakes.memory_store import MemoryStore

_SCHEME = "memory:///"


class Broken(BaseException):
    """An invariant does not hold. No code of ours may catch this and go on."""

    def __init__(self, invariant: str, how: str) -> None:
        super().__init__(f"{invariant}: {how}")
        self.invariant = invariant


class StoreWitness:
    """Sees every object that is written.

    Args:
        store: the objects, without steps and faults.
    """

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self._unread: list[str] = []  # commit objects
        self._records: dict[tuple[str, str], list[Record]] = {}  # by mailbox and SHA-256
        self._events: dict[str, dict[str, Record]] = {}  # by event id and JSON
        self._sound: dict[str, tuple[str, ...]] = {}  # keys of the objects, by batch and index
        self._references: dict[str, tuple[str, ...]] = {}  # keys, by the event's JSON

    def placed(self, key: str, octets: bytes) -> None:
        """An object is about to be written."""
        before = self.store.objects.get(key)
        if before is not None and before != octets and key.startswith(keys.MAIL):
            raise Broken("3 stored octets", f"{key} is overwritten")
        if key.endswith("/commit.zip") and before is None:
            self._unread.append(key)

    def records(self) -> list[Record]:
        """Every record that was ever committed."""
        self._read()
        return [record for found in self._records.values() for record in found]

    def _read(self) -> None:
        """Read what was committed since."""
        for key in self._unread:
            for record in CommitReader(self.store, key).records():
                self._records.setdefault((record.mailbox, record.sha256), []).append(record)
                for event in record.events:
                    self._events.setdefault(event.id, {})[event.json] = record
        self._unread.clear()

    def records_of(self, mailbox: str, sha256: str) -> Sequence[Record]:
        """Those of a message."""
        self._read()
        return self._records.get((mailbox, sha256), [])

    def flaw(self, record: Record) -> str:
        """Why the record does not give its octets back; empty: it does.

        What once did so still does while its objects are there: none is ever overwritten.
        """
        name = f"{record.batch} {record.index}"
        if name in self._sound and all(key in self.store.objects for key in self._sound[name]):
            return ""
        try:
            octets = b"".join(rebuild_message(self.store, record))
        except StoreError as error:
            return str(error)
        if hashlib.sha256(octets).hexdigest() != record.sha256:
            return "other octets"
        parts = [part.key for part in record.parts if part.key]
        held = record.skeleton.key or keys.commit(record.batch)
        self._sound[name] = (held, *parts)
        return ""

    def may_be_told_again(self, batch: str) -> bool:
        """Whether its commit object is there, and no checkpoint says that every sink has it."""
        checkpoint = msgspec.json.decode(self.store.objects["checkpoint.json"], type=Checkpoint)
        told = checkpoint.before is not None and keys.begun(batch) < checkpoint.before
        return not told and keys.commit(batch) in self.store.objects

    def is_stored(self, mailbox: str, sha256: str) -> bool:
        """Whether some record gives the message's octets back."""
        return any(not self.flaw(one) for one in self.records_of(mailbox, sha256))

    def events(self, event_id: str) -> Mapping[str, Record]:
        """Records by the bytes of that event."""
        self._read()
        return self._events.get(event_id, {})

    def dangling(self, event_json: str) -> str:
        """What the event refers to in vain; empty: nothing."""
        found = self._references.get(event_json)
        if found is not None:
            return ", ".join(key for key in found if key not in self.store.objects)
        event = msgspec.json.decode(event_json, type=CloudEvent)
        key, _, member = event.dataref.removeprefix(_SCHEME).partition("#")
        try:
            record = CommitReader(self.store, key).record(int(member.partition("/")[0]))
        except StoreError as error:
            return f"dataref: {error}"
        if record.id != event.data.record:
            return "dataref: another record"
        parts = {part.uri.removeprefix(_SCHEME): part for part in event.data.parts if part.uri}
        for part_key, part in parts.items():
            stored = self.store.objects.get(part_key, b"")
            if hashlib.sha256(stored).hexdigest() != part.sha256:
                return f"part {part.path}"
        self._references[event_json] = (key, *parts)
        return ""

    def orphans(self) -> list[str]:
        """Objects of batches without a commit object, and unfinished uploads."""
        parsed = {key: keys.parse(key) for key in self.store.objects}
        batches = {key: found.batch for key, found in parsed.items() if found}
        committed = {batch for key, batch in batches.items() if key.endswith("/commit.zip")}
        return [key for key, batch in batches.items() if batch not in committed]
