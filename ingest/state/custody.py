"""What Redis knows of a message's way: taken in, its events accepted, deleted on its server."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from redis import Redis

from ingest.model import LedgerEntry, Record
from ingest.state.commands import CHUNK, PREFIX, Commands, text
from ingest.state.entries import unpack
from ingest.state.ledger import RedisLedger
from ingest.state.outbox import Outbox

# waiting: it may still be in the outbox. unknown: the ledger has forgotten the message, or never
# knew it: it forgets what left its server weeks ago, and knows no unique-id that was listed twice.
Acceptance = Literal["accepted", "waiting", "unknown"]

# confirmed: DELE and QUIT were answered +OK. open: they were not, or the answer got lost.
Deletion = Literal["confirmed", "open", "unknown"]


class Custody(NamedTuple):
    """What is known of one message."""

    committed_at: datetime | None  # None: the ledger has forgotten it
    events: Mapping[str, Acceptance]  # by sink
    deletion: Deletion


class Unseen(NamedTuple):
    """A message that the ledger has, and that was not seen elsewhere."""

    record_id: str
    committed_at: datetime
    deletion: Deletion


class Custodian:
    """Looks messages up. Raises StateError where Redis fails.

    Args:
        client: Redis.
        prefix: of our keys.
    """

    def __init__(self, client: Redis, prefix: str = PREFIX) -> None:
        self._redis = Commands(client, prefix)
        self._ledger = RedisLedger(client, prefix)
        self._prefix = prefix

    def of(self, mailbox: str, records: Sequence[Record]) -> list[Custody]:
        """What is known of these messages of one mailbox, in their order."""
        times = self._ledger.committed(mailbox, [record.id for record in records])
        names = [name for record in records if (name := record.memorable_id) is not None]
        entries = self._ledger.known(mailbox, names)
        accepted = self._accepted_before(mailbox)
        found = []
        for record in records:
            time = times.get(record.id)
            entry = entries.get(record.memorable_id or "")
            events = {sink: _acceptance(time, before) for sink, before in accepted.items()}
            committed_at = None if time is None else datetime.fromtimestamp(time, UTC)
            found.append(Custody(committed_at, events, _deletion(entry, record.id)))
        return found

    def now(self) -> float:
        """Redis's clock: seconds since the epoch."""
        return self._redis.now()

    def unseen(
        self, mailbox: str, since: float, until: float, seen: Collection[bytes]
    ) -> Iterator[Unseen]:
        """What was committed between those times (epoch seconds) and is not among the seen.

        Args:
            mailbox: its id.
            since: committed then or later.
            until: committed before then.
            seen: the first eight octets of records' ids.
        """
        key = self._redis.key("records", mailbox)
        missing: dict[bytes, float] = {}
        for page in self._pages("ZSCAN", key):
            missing |= {
                record: float(time)
                for record, time in page
                if since <= float(time) < until and record[:8] not in seen
            }
        entries: dict[str, LedgerEntry] = {}
        for page in self._pages("HSCAN", self._redis.key("entries", mailbox)) if missing else ():
            found = map(unpack, page.values())
            entries |= {
                entry.record_id: entry
                for entry in found
                if bytes.fromhex(entry.record_id) in missing
            }
        for record, time in missing.items():
            name, committed_at = record.hex(), datetime.fromtimestamp(time, UTC)
            yield Unseen(name, committed_at, _deletion(entries.get(name), name))

    def _accepted_before(self, mailbox: str) -> dict[str, float]:
        """By sink, the time (epoch seconds) of whose commits and earlier ones it has the events."""
        horizon = self._ledger.horizon(mailbox)
        accepted: dict[str, float] = {}
        for sink in self._sinks():
            outbox = Outbox(self._redis.client, sink, prefix=self._prefix)
            if not outbox.depth():
                accepted[sink] = float("inf")
            elif not horizon.accepted_before:  # events were put again, later than their commits
                accepted[sink] = 0.0
            else:
                accepted[sink] = horizon.now - outbox.age_seconds()
        return accepted

    def _sinks(self) -> list[str]:
        """Those that have ever asked for events."""
        key = self._redis.key("outbox")
        if not self._redis.run("EXISTS", key):
            return []
        return [text(group["name"]) for group in self._redis.run("XINFO GROUPS", key)]

    def _pages(self, command: str, key: str) -> Iterator[Any]:
        cursor = 0
        while True:
            cursor, page = self._redis.run(command, key, cursor, "COUNT", CHUNK)
            yield page
            if not cursor:
                return


def _acceptance(committed_at: float | None, accepted_before: float) -> Acceptance:
    if committed_at is None:
        return "unknown"
    # It is dated to the second before.
    return "accepted" if committed_at + 1 <= accepted_before else "waiting"


def _deletion(entry: LedgerEntry | None, record_id: str) -> Deletion:
    if entry is None or entry.record_id != record_id:  # the unique-id is that of other octets now
        return "unknown"
    return "confirmed" if entry.deleted else "open"
