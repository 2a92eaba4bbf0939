"""What was committed of each mailbox, and what its messages' ids were.

Per mailbox: `entries` (unique-id to entry), `records` (ids of the records that were published, by
the time of their commit), `attempts` (unique-id to count), `gone` (unique-ids that have an entry
but are no longer listed, by the time that was first seen), `restored` (when events were last put
by a read-back). For all: `batches`, `outbox`, `held` (when events were last put by a read-back of
any mailbox), `quarantine` (see ingest.state.quarantine).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from redis import Redis

from ingest.errors import LeaseLost
from ingest.intake.ports import Commitment
from ingest.model import Horizon, Lease, LedgerEntry, Record
from ingest.state.commands import CHUNK, PREFIX, Argument, Commands, chunks
from ingest.state.entries import pack_head, unpack

OF_EACH_MAILBOX: Final = ("entries", "records", "attempts", "gone", "compared", "restored")  # keys
BATCHES_KEPT: Final = 12 * 3600  # twice as long as a worker may take to commit one
FORGET_EVERY: Final = 6 * 3600  # so often a mailbox's listing is compared with its entries
UNLISTED_KEPT: Final = 7 * 86400  # a server may list a message again that it hid for a while
RECORDS_KEPT: Final = 30 * 86400  # a message without entry is published once in this time


class RedisLedger:
    """The `Ledger` of the intake, in Redis."""

    def __init__(self, client: Redis, prefix: str = PREFIX) -> None:
        self._redis = Commands(client, prefix)

    def horizon(self, mailbox: str) -> Horizon:
        keys = [self._redis.key("outbox"), self._redis.key("restored", mailbox)]
        now, accepted_before = self._redis.call("horizon", keys)
        return Horizon(float(now), float(accepted_before))

    def known(self, mailbox: str, unique_ids: Sequence[str]) -> Mapping[str, LedgerEntry]:
        key = self._redis.key("entries", mailbox)
        found: dict[str, LedgerEntry] = {}
        for chunk in chunks(unique_ids):
            entries = self._redis.run("HMGET", key, *_encoded(chunk))
            found |= {
                unique_id: unpack(entry)
                for unique_id, entry in zip(chunk, entries, strict=True)
                if entry is not None
            }
        return found

    def committed(self, mailbox: str, record_ids: Sequence[str]) -> Mapping[str, float]:
        key = self._redis.key("records", mailbox)
        found: dict[str, float] = {}
        for chunk in chunks(record_ids):
            times = self._redis.run("ZMSCORE", key, *map(bytes.fromhex, chunk))
            found |= {
                record_id: float(time)
                for record_id, time in zip(chunk, times, strict=True)
                if time is not None
            }
        return found

    def attempts(self, mailbox: str, unique_ids: Sequence[str]) -> Mapping[str, int]:
        key = self._redis.key("attempts", mailbox)
        counts: dict[str, int] = {}
        for chunk in chunks(unique_ids):
            found = self._redis.run("HMGET", key, *_encoded(chunk))
            counts |= {name: int(n) for name, n in zip(chunk, found, strict=True) if n is not None}
        return counts

    def count_attempts(self, lease: Lease, unique_ids: Sequence[str]) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        for chunk in chunks(unique_ids):
            answer = self._call("count_attempts", lease, ["attempts"], _encoded(chunk))
            counts |= zip(chunk, map(int, answer), strict=True)
        return counts

    def take_back(self, lease: Lease, unique_ids: Sequence[str]) -> None:
        for chunk in chunks(unique_ids):
            self._call("take_back", lease, ["attempts"], _encoded(chunk))

    def commit(self, lease: Lease, commitments: Sequence[Commitment]) -> int:
        if not commitments:
            return 0
        batch = commitments[0].record.batch
        arguments: list[Argument] = [batch, "", BATCHES_KEPT]
        for record, unique_id in commitments:
            arguments += _flat(record, unique_id)
        return int(
            self._call(
                "commit",
                lease,
                ["entries", "records", "attempts"],
                arguments,
                ["batches", "outbox", "quarantine", f"leases:{lease.group}"],
            )
        )

    def settle(self, lease: Lease, unique_ids: Collection[str]) -> None:
        for chunk in chunks(list(unique_ids)):
            self._call("settle", lease, ["entries"], _encoded(chunk))

    def forget(self, lease: Lease, listed: Collection[str]) -> None:
        """Compare the entries with a whole listing, and forget what is long gone from it.

        An entry is forgotten when its unique-id has not been listed for seven days; a record id
        when it was committed thirty days ago and no entry has it. Does so every six hours for a
        mailbox, and nothing at all between.
        """
        mark = self._redis.key("compared", lease.mailbox)
        if not self._redis.run("SET", mark, "1", "NX", "EX", FORGET_EVERY):
            return
        still_listed = set(_encoded(listed))
        standing: set[bytes] = set()
        for entries in self._pages("entries", lease.mailbox):
            standing.update(entry[1:17] for entry in entries.values())
            self._note_unlisted(lease, entries, still_listed)
        now = self._redis.now()
        gone = self._before("gone", lease.mailbox, now - UNLISTED_KEPT)
        self._drop(lease, "entries", "hash", gone)
        old = self._before("records", lease.mailbox, now - RECORDS_KEPT)
        self._drop(lease, "records", "set", [record for record in old if record not in standing])
        for attempts in self._pages("attempts", lease.mailbox):
            self._drop(lease, "attempts", "hash", [a for a in attempts if a not in still_listed])

    def restore(self, batch: str, records: Sequence[Record]) -> int:
        """Take in the records of a batch that is in the log but not known here; no lease needed.

        Entries that exist stay as they are. The stored events of records that are new here are put
        into the outbox. Returns how many were.
        """
        put = 0
        for mailbox in {record.mailbox for record in records}:
            own = [record for record in records if record.mailbox == mailbox]
            arguments: list[Argument] = [batch, int(own[0].retrieved_at.timestamp()), BATCHES_KEPT]
            for record in own:
                arguments += _flat(record, record.memorable_id)
            keys = self._keys(mailbox, ["entries", "records", "attempts"])
            keys += map(self._redis.key, ("batches", "outbox", "quarantine"))
            keys += [*self._keys(mailbox, ["restored"]), self._redis.key("held")]
            nobody = self._redis.key("holders", "")
            put += self._redis.call("commit", [nobody, *keys], [mailbox, "", *arguments])
        return put

    def unknown_batches(self, listed: Sequence[str]) -> list[str]:
        """Those of the listed batches (of the last hours) that were never committed here."""
        key = self._redis.key("batches")
        unknown: list[str] = []
        for chunk in chunks(listed):
            times = self._redis.run("ZMSCORE", key, *chunk)
            unknown += (batch for batch, time in zip(chunk, times, strict=True) if time is None)
        return unknown

    def drop(self, mailbox: str) -> None:
        """Forget all of a mailbox that is removed."""
        self._redis.run("UNLINK", *self._keys(mailbox, OF_EACH_MAILBOX))
        self._redis.run("HDEL", self._redis.key("standing"), mailbox)

    def _note_unlisted(
        self, lease: Lease, entries: Collection[bytes], still_listed: Collection[bytes]
    ) -> None:
        for word, names in (
            ("unlisted", [name for name in entries if name not in still_listed]),
            ("listed", [name for name in entries if name in still_listed]),
        ):
            if names:
                self._call("note_unlisted", lease, ["gone"], [word, *names])

    def _drop(self, lease: Lease, name: str, kind: str, members: Sequence[bytes]) -> None:
        for start in range(0, len(members), CHUNK):
            part = members[start : start + CHUNK]
            self._call("forget", lease, [name, "gone"], [kind, *part])

    def _before(self, name: str, mailbox: str, time: float) -> list[bytes]:
        """Members of a sorted set from before then."""
        key = self._redis.key(name, mailbox)
        found: list[bytes] = []
        while page := self._redis.run(
            "ZRANGEBYSCORE", key, "-inf", f"({time}", "LIMIT", len(found), CHUNK
        ):
            found += page
        return found

    def _pages(self, name: str, mailbox: str) -> Iterator[Mapping[bytes, bytes]]:
        key, cursor = self._redis.key(name, mailbox), 0
        while True:
            cursor, page = self._redis.run("HSCAN", key, cursor, "COUNT", CHUNK)
            yield page
            if not cursor:
                return

    def _keys(self, mailbox: str, names: Sequence[str]) -> list[str]:
        return [self._redis.key(name, mailbox) for name in names]

    def _call(
        self,
        script: str,
        lease: Lease,
        names: Sequence[str],
        arguments: Sequence[Argument],
        shared: Sequence[str] = (),
    ) -> Any:  # noqa: ANN401 - each script has its own reply
        """Run a script that checks the lease first."""
        keys = [
            self._redis.key("holders", lease.group),
            *self._keys(lease.mailbox, names),
            *map(self._redis.key, shared),
        ]
        answer = self._redis.call(script, keys, [lease.mailbox, lease.id, *arguments])
        if answer is None:
            raise LeaseLost(
                f"the lease on mailbox {lease.mailbox} was lost",
                remedy="another worker may hold it; if frequent, raise INGEST_LEASE_SECONDS",
            )
        return answer


def _encoded(unique_ids: Iterable[str]) -> list[bytes]:
    """As octets: servers put anything into a unique-id."""
    return [unique_id.encode("utf-8", "surrogateescape") for unique_id in unique_ids]


def _flat(record: Record, unique_id: str | None) -> list[Argument]:
    """The record as `lua/commit.lua` reads it."""
    flat: list[Argument] = [
        bytes.fromhex(record.id),
        (unique_id or "").encode("utf-8", "surrogateescape"),
        pack_head(record),
        len(record.events),
    ]
    for event in record.events:
        flat += (event.id, event.type, event.json)
    return flat
