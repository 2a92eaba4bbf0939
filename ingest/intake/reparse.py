"""Parse a stored message again: a new version of its record, with an event of its own."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ingest.errors import IngestError
from ingest.intake.batch import Batch, BatchLimits, Member
from ingest.intake.message import Draft, Thresholds, Unparsable
from ingest.intake.ports import Log
from ingest.model import Listed, Record, version_id


def reparse(
    record: Record,
    octets: Iterable[bytes],
    *,
    log: Log,
    limits: BatchLimits,
    thresholds: Thresholds,
    deployment: str,
    now: datetime,
) -> Record:
    """Commit a version of a message's record that is made by today's parser.

    Args:
        record: the message, as it was committed.
        octets: the whole message.
        log: where the version is written, in a batch of its own.
        limits: of that batch.
        thresholds: which parts become objects.
        deployment: names the fleet in the event.
        now: when it is done.

    Raises:
        IngestError: it can't be parsed today either; nothing was committed.
        StoreError: the message could not be read, or the version not be written.
    """
    batch = Batch(log, limits)
    listed = Listed(0, record.listed_octets, None)
    with Draft(batch, thresholds) as draft:
        try:
            for block in octets:
                draft.feed(memoryview(block))
            draft.end()
        except Unparsable as error:
            raise IngestError(
                f"message {record.id} still can't be parsed: {type(error.__cause__).__name__}",
                remedy="it stays in quarantine, whole: ingest quarantine export",
            ) from error
        version, skeleton = draft.commit(
            identity=version_id(record.id, batch.id),
            mailbox_id=record.mailbox,
            tenant=record.tenant,
            listed=listed,
            retrieved_at=now,
            deployment=deployment,
            version_of=record.id,
            objects=log,
        )
    batch.join(Member(listed, version, skeleton, delete=False, memorable=False))
    batch.write()
    return version
