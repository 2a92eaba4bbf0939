"""Messages that an application has taken in, without a server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from ulid import ULID

from ingest.bootstrap import Application
from ingest.intake.batch import Batch, BatchLimits, Member
from ingest.intake.message import Draft, Thresholds
from ingest.model import Listed, Record
from ingest.objects.log import StoreLog
from tests.fakes.mail_values import mailbox


def ingest_messages(
    application: Application,
    messages: Sequence[bytes],
    *,
    name: str = "a",
    deleted: bool = True,
    age: timedelta = timedelta(),
) -> list[Record]:
    """Take messages in as a session does, by one batch; their unique-ids are their numbers."""
    now = application.store.now() - age
    lease = application.schedule.claim_mailbox(mailbox(name), 60)
    assert lease
    batch = Batch(StoreLog(application.store), BatchLimits(1000, 10**9, 10**6))
    batch.id = str(ULID.from_datetime(now))
    for number, octets in enumerate(messages, 1):
        listed = Listed(number, len(octets), f"{name}-{number}")
        with Draft(batch, Thresholds(1_000, 10**6)) as draft:
            draft.feed(memoryview(octets))
            draft.end()
            record, skeleton = draft.commit(
                identity=draft.record_id(lease.mailbox, rehearsal=False),
                mailbox_id=lease.mailbox,
                tenant="default",
                listed=listed,
                retrieved_at=now,
                deployment="test",
                objects=application.log,
            )
        batch.join(Member(listed, record, skeleton, delete=True, memorable=True))
    batch.write()
    commitments = batch.commitments()
    application.ledger.commit(lease, commitments)
    if deleted:
        application.ledger.settle(lease, [str(one.unique_id) for one in commitments])
    application.schedule.release(lease, 60)
    return [one.record for one in commitments]
