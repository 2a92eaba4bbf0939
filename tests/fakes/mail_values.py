"""Mailboxes, records and commitments as state tests need them: ids real, the rest short."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from ingest.intake.ports import Commitment
from ingest.model import Envelope, Mailbox, Record, Skeleton, StoredEvent, event_id, record_id

BATCH = "01JB0000000000000000000000"


def mailbox(name: str = "a", *, host: str = "pop.example.org", tenant: str = "default") -> Mailbox:
    return Mailbox(
        id=f"mb-{name}",
        name=name,
        tenant=tenant,
        host=host,
        port=995,
        username=f"{name}@example.org",
        password="env:PASSWORD",
    )


def record(
    octets: str,
    *,
    mailbox_id: str = "mb-a",
    unique_id: str | None = "u1",
    batch: str = BATCH,
    retrieved_at: datetime | None = None,
    index: int = 0,
) -> Record:
    sha256 = hashlib.sha256(octets.encode()).hexdigest()
    identity = record_id(mailbox_id, sha256)
    event = StoredEvent(event_id(identity, "stored"), "stored", f'{{"of":"{octets}"}}')
    return Record(
        id=identity,
        mailbox=mailbox_id,
        tenant="default",
        batch=batch,
        index=index,
        unique_id=unique_id,
        listed_octets=len(octets),
        octets=len(octets),
        sha256=sha256,
        header_sha256=hashlib.sha256(b"header").hexdigest(),
        retrieved_at=retrieved_at or datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        skeleton=Skeleton(len(octets), sha256),
        program=(("copy", len(octets)),),
        envelope=Envelope(),
        events=(event,),
    )


def commitment(octets: str, unique_id: str | None = "u1", batch: str = BATCH) -> Commitment:
    return Commitment(record(octets, unique_id=unique_id, batch=batch), unique_id)
