"""What a session did, and who wants to see it."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Protocol

import msgspec
import structlog

from ingest.intake.batch import Batch, Member
from ingest.intake.ports import Farewell
from ingest.model import Record
from ingest.observability import metrics

log = structlog.get_logger(__name__)


class SessionReport(msgspec.Struct, kw_only=True):
    """What one session did."""

    mailbox: str
    listed: int = 0
    listed_octets: int = 0
    retrieved: int = 0  # whole
    octets: int = 0
    committed: int = 0
    parts: int = 0  # objects beside the skeletons
    defects: int = 0
    events: int = 0  # new ones; a message seen before publishes nothing again
    deleted: int = 0
    kept: int = 0  # stored, and left on the server as the delete rule says
    refused: int = 0  # RETR or DELE answered -ERR
    suspects: int = 0  # tried before without success: to be tried in a process of their own
    quarantined: int = 0  # stored without parsing them
    skipped: int = 0  # not retrieved: it broke sessions or workers too often; stays on the server
    ignored_deletes: int = 0  # deleted before by +OK, and still there
    withheld: int = 0  # stored with fewer octets than announced, not deleted
    unproven: int = 0  # deletes that were not sent for want of evidence: a bug
    braked: str = ""  # why nothing was deleted, whatever the delete rule says
    left: int = 0  # not started for the session's limits: poll again soon
    login_delay: int = 0  # seconds that the server wants between two sessions
    seconds: float = 0.0


class Watch(Protocol):
    """Who wants to see a session's progress."""

    def listed(self, messages: int, octets: int) -> None:
        """So much is going to be retrieved."""

    def received(self, octets: int) -> None:
        """So many more octets came in."""

    def committed(self, records: list[Record]) -> None:
        """These are durable."""


def note_committed(report: SessionReport, batch: Batch, events: int, seconds: float) -> None:
    """Count a batch that became ours so long after LIST, and how many new events it has."""
    records = [member.record for member in batch.members]
    parts = sum(bool(part.key) for record in records for part in record.parts)
    report.committed += len(records)
    report.events += events
    report.parts += parts
    report.defects += sum(len(record.defects) for record in records)
    report.kept += sum(member.memorable and not member.delete for member in batch.members)
    report.withheld += sum(not member.memorable for member in batch.members)
    outcomes = Counter(map(_outcome, batch.members))
    report.quarantined += outcomes["quarantined"]
    metrics.commits.inc()
    metrics.events.inc(events)
    metrics.parts.inc(parts)
    metrics.octets.inc(sum(record.octets for record in records))
    for outcome, count in outcomes.items():
        metrics.messages.labels(outcome).inc(count)
    for record in records:
        metrics.commit_delay.observe(seconds)
        _note_message(record)


def note_isolated(report: SessionReport) -> None:
    """Count what a session in a process of its own did: its own metrics ended with it."""
    metrics.octets.inc(report.octets)
    metrics.parts.inc(report.parts)
    metrics.events.inc(report.events)
    metrics.messages.labels("quarantined").inc(report.quarantined)
    metrics.messages.labels("truncated").inc(report.withheld)
    stored = report.committed - report.quarantined - report.withheld
    metrics.messages.labels("stored").inc(max(0, stored))
    metrics.deletes.labels("confirmed").inc(report.deleted)
    metrics.deletes_without_evidence.inc(report.unproven)


def note_deleted(report: SessionReport, farewell: Farewell) -> None:
    """Count what the server said to DELE and QUIT."""
    report.deleted = len(farewell.deleted)
    report.refused += len(farewell.refused)
    metrics.deletes.labels("confirmed").inc(len(farewell.deleted))
    metrics.deletes.labels("refused").inc(len(farewell.refused))


def _outcome(member: Member) -> str:
    """What `metrics.messages` calls it."""
    if member.record.quarantined:
        return "quarantined"
    return "stored" if member.memorable else "truncated"


def _note_message(record: Record) -> None:
    if record.envelope.date:
        age = record.retrieved_at - datetime.fromisoformat(record.envelope.date)
        metrics.mail_age.observe(max(0.0, age.total_seconds()))
    log.info(
        "message_committed",
        record=record.id,
        batch=record.batch,
        octets=record.octets,
        parts=len(record.parts),
        defects=[defect.name for defect in record.defects],
    )
