"""When each mailbox is due, and who holds it.

Each limit group has a sorted set of due times and one of lease expiries, both by Redis's clock, and
a hash of lease ids. A mailbox is in one of the two sorted sets: due or leased. A lease that expires
makes its mailbox due again, at the next claim in its group.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from itertools import groupby
from typing import NamedTuple

from redis import Redis

from ingest.errors import StateUnavailable
from ingest.model import Lease, Mailbox
from ingest.state.commands import CHUNK, PREFIX, Argument, Commands, text


class Depth(NamedTuple):
    """What waits and what runs."""

    scheduled: int  # mailboxes with a due time, future or past
    due: int  # of these, due now
    leased: int
    lag_seconds: float  # how late the longest waiting one is


def spread(mailbox: str, seconds: float) -> float:
    """A moment within so many seconds, always the same one for the same mailbox id.

    The first due times of many mailboxes that are added at once are spread by it.
    """
    drawn = int.from_bytes(hashlib.sha256(mailbox.encode()).digest()[:4])
    return seconds * drawn / 2**32


class Schedule:
    """Due times and leases. Every method raises StateError where Redis fails.

    Nothing can be claimed until the index is known to be whole (see checkpoint): read back where
    Redis lost it, and compared with the object store where Redis was restarted.
    """

    def __init__(self, client: Redis, prefix: str = PREFIX) -> None:
        self._redis = Commands(client, prefix)
        self._whole = [self._redis.key("epoch"), self._redis.key("run-id")]
        self._groups = self._redis.key("groups")
        self._prefixes = (self._redis.key("due", ""), self._redis.key("leases", ""))

    def groups_due(self) -> Mapping[str, int]:
        """The groups with something to claim, and how many mailboxes that are."""
        found = self._redis.call("groups_due", [*self._whole, self._groups], self._prefixes)
        return {text(found[i]): int(found[i + 1]) for i in range(0, len(found), 2)}

    def claim(self, group: str, slots: int, lease_seconds: float) -> Lease | None:
        """Take the group's earliest due mailbox, if it has one and a slot is free."""
        lease_id = secrets.token_hex(16)
        mailbox = self._redis.call(
            "claim",
            [*self._whole, *self._keys(group)],
            [slots, lease_seconds, lease_id],
        )
        return None if mailbox is None else Lease(text(mailbox), group, lease_id)

    def claim_mailbox(self, mailbox: Mailbox, lease_seconds: float) -> Lease | None:
        """Take this mailbox now, whenever it is due; None where somebody holds it.

        Raises:
            StateUnavailable: also while the index is not known to be whole.
        """
        lease_id = secrets.token_hex(16)
        taken = self._redis.call(
            "claim_mailbox",
            [*self._whole, self._groups, *self._keys(mailbox.group)],
            [mailbox.group, mailbox.id, lease_seconds, lease_id],
        )
        if taken is None:
            raise StateUnavailable(
                "Redis was restarted or lost data, and is not compared with the object store yet",
                remedy="start a worker, or wait until it has done so",
            )
        return Lease(mailbox.id, mailbox.group, lease_id) if taken else None

    def leased_until(self, mailbox: Mailbox) -> datetime | None:
        """When the lease on the mailbox expires, by Redis's clock; None where it has none."""
        expiry = self._redis.run("ZSCORE", self._redis.key("leases", mailbox.group), mailbox.id)
        return None if expiry is None else datetime.fromtimestamp(float(expiry), UTC)

    def renew(self, leases: Collection[Lease], lease_seconds: float) -> set[Lease]:
        """Let all these leases last so many seconds from now; returns those that are lost."""
        held = list(leases)
        keys: list[str] = []
        arguments: list[Argument] = [lease_seconds]
        for lease in held:
            keys += self._keys(lease.group)[1:]
            arguments += (lease.mailbox, lease.id)
        renewed = self._redis.call("renew", keys, arguments) if held else []
        return {lease for lease, kept in zip(held, renewed, strict=True) if not kept}

    def standing(self, mailbox: str) -> bytes:
        """What `release` kept of the mailbox (its id); empty: nothing yet."""
        kept: bytes | None = self._redis.run("HGET", self._redis.key("standing"), mailbox)
        return kept or b""

    def release(self, lease: Lease, due_in: float | None, standing: bytes = b"") -> bool:
        """Give the lease back; the mailbox is due in so many seconds, or (None) not at all.

        Keeps `standing`, unless it is empty. Returns False where the lease was lost: then nothing
        changes.
        """
        released = self._redis.call(
            "release",
            [self._groups, *self._keys(lease.group), self._redis.key("standing")],
            [lease.group, lease.mailbox, lease.id, "" if due_in is None else due_in, standing],
        )
        return bool(released)

    def now(self) -> float:
        """Redis's clock: seconds since the epoch."""
        return self._redis.now()

    def schedule(self, mailbox: Mailbox, due_in: float) -> None:
        """Set when the mailbox is due. A leased one is due when its lease is given back."""
        self._redis.call(
            "schedule",
            [self._groups, *self._keys(mailbox.group)],
            [mailbox.group, "all", mailbox.id, due_in],
        )

    def schedule_new(self, mailboxes: Iterable[Mailbox], within: float) -> int:
        """Give those without due time or lease one, spread over so many seconds; how many."""
        added = 0
        ordered = sorted(mailboxes, key=lambda mailbox: mailbox.group)
        for group, members in groupby(ordered, key=lambda mailbox: mailbox.group):
            due: list[Argument] = []
            for member in members:
                due += (member.id, spread(member.id, within))
            for start in range(0, len(due), 2 * CHUNK):
                added += self._redis.call(
                    "schedule",
                    [self._groups, *self._keys(group)],
                    [group, "new", *due[start : start + 2 * CHUNK]],
                )
        return added

    def unschedule(self, mailbox: str, group: str) -> None:
        """Take the mailbox (its id) out of the schedule. A session it has loses its lease."""
        self._redis.call("unschedule", [self._groups, *self._keys(group)], [group, mailbox])

    def depth(self) -> Depth:
        """What waits and what runs, for metrics."""
        scheduled, due, leased, late = self._redis.call("depth", [self._groups], self._prefixes)
        return Depth(int(scheduled), int(due), int(leased), int(late) / 1000)

    def _keys(self, group: str) -> list[str]:
        return [self._redis.key(name, group) for name in ("due", "leases", "holders")]
