"""What `ingest audit` finds out: proof from the store, and from Redis what became of a message."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from ingest.cli.events import names
from ingest.model import Record
from ingest.objects import keys
from ingest.objects.ahead import ahead
from ingest.objects.audit import Examined, Verdict, examine, positions
from ingest.objects.sample import pick, random_batches
from ingest.state.checkpoint import MARGIN
from ingest.state.custody import Custodian, Custody, Unseen

if TYPE_CHECKING:
    from ingest.bootstrap import Application

_DRAWS = 4  # for each message of a sample: some are of other mailboxes, or of batches drawn before
_DRAWS_LEAST = 100
_SETTLED_SECONDS = 60  # what was committed just now may be on no page of the log yet
_SEEN_OCTETS = 8  # of a record's id: enough to tell it from all others of a mailbox

Place = tuple[str, int | None]  # a batch, and the position of a record in it; None: all of them


class Audited(msgspec.Struct, kw_only=True):
    """One message as `--json` prints it."""

    record: str = ""  # empty: it can't be read
    mailbox: str = ""  # its name, or its id where it is removed
    batch: str = ""  # empty: no commit object has it
    index: int | None = None  # in the batch; None: all of the batch
    unique_id: str | None = None  # that it was listed by; None: none, or listed more than once
    listed_octets: int | None = None
    retrieved_at: datetime | None = None
    octets: int | None = None
    sha256: str = ""
    committed_at: datetime | None = None  # None: the ledger has forgotten it
    events: dict[str, str] = {}  # by sink: accepted, waiting or unknown
    deleted: str = "unknown"  # confirmed: DELE and QUIT were answered +OK; open; unknown
    proof: str = ""  # proven, damaged, missing or unreadable
    object: str = ""  # that is wrong
    reason: str = ""  # what is wrong with it
    remedy: str = ""


Finding = tuple[Audited, Verdict]


class Auditor:
    """Looks at messages of the log.

    Args:
        application: the parts.
        mailbox: id of the one whose messages are looked at; empty: all.
        begin: of what was retrieved then or later; None: all.
    """

    def __init__(self, application: Application, mailbox: str, begin: datetime | None) -> None:
        self._application = application
        self._mailbox = mailbox
        self._begin = begin
        self._name = names(application.registry)
        self._custodian = Custodian(application.redis)
        self._until = self._custodian.now() - _SETTLED_SECONDS
        self._seen: dict[str, bytearray] = {}  # of each mailbox, beginnings of records' ids

    def everything(self) -> Iterator[tuple[Place, list[Finding]]]:
        """Every message, in the order of the log."""
        begin = self._begin and self._begin - MARGIN
        places: Iterator[Place] = (
            (batch, None) for batch in self._application.log.committed(begin)
        )
        return ahead(self._application.committer, self._look, places)

    def sample(self, count: int) -> Iterator[tuple[Place, list[Finding]]]:
        """So many messages at random, or fewer."""
        chance = random.SystemRandom()
        store, draws = self._application.store, _DRAWS * count + _DRAWS_LEAST
        wanted = self._wanted if self._mailbox else None
        places = pick(
            random_batches(store, self._begin, draws, chance),
            lambda batch: positions(store, batch, wanted),
            count,
            chance,
        )
        return ahead(self._application.committer, self._look, places)

    def vanished(self) -> Iterator[Finding]:
        """After `everything`: what the ledger has of that time, and no commit object in the log."""
        mailboxes = [self._mailbox] if self._mailbox else self._application.registry.ids()
        since = self._begin.timestamp() if self._begin else 0.0
        for mailbox in mailboxes:
            beginnings = bytes(self._seen.pop(mailbox, b""))
            seen = {
                beginnings[at : at + _SEEN_OCTETS] for at in range(0, len(beginnings), _SEEN_OCTETS)
            }
            for unseen in self._custodian.unseen(mailbox, since, self._until, seen):
                yield self._vanished(mailbox, unseen)

    def _wanted(self, record: Record) -> bool:
        if self._mailbox not in {"", record.mailbox}:
            return False
        beginning = bytes.fromhex(record.id)[:_SEEN_OCTETS]
        self._seen.setdefault(record.mailbox, bytearray()).extend(beginning)
        return self._begin is None or record.retrieved_at >= self._begin

    def _look(self, place: Place) -> tuple[Place, list[Finding]]:
        examined = list(examine(self._application.store, *place, self._wanted))
        records = [one.record for one in examined if one.record]
        custody: dict[int, Custody] = {}
        for mailbox in {record.mailbox for record in records}:
            own = [record for record in records if record.mailbox == mailbox]
            found = self._custodian.of(mailbox, own)
            custody |= zip((record.index for record in own), found, strict=True)
        return place, [(self._audited(one, custody), one.verdict) for one in examined]

    def _audited(self, examined: Examined, custody: dict[int, Custody]) -> Audited:
        audited = Audited(batch=examined.batch, index=examined.position)
        if record := examined.record:
            known = custody[record.index]
            audited = Audited(
                record=record.id,
                mailbox=self._name(record.mailbox),
                batch=examined.batch,
                index=examined.position,
                unique_id=record.unique_id,
                listed_octets=record.listed_octets,
                retrieved_at=record.retrieved_at,
                octets=record.octets,
                sha256=record.sha256,
                committed_at=known.committed_at,
                events=dict(known.events),
                deleted=known.deletion,
            )
        return _with(audited, examined.verdict)

    def _vanished(self, mailbox: str, unseen: Unseen) -> Finding:
        verdict = Verdict(
            "missing",
            keys.hour_prefix(unseen.committed_at),
            "has no commit object that can be read and has it, but the ledger has it",
            "restore the commit.zip that is missing or damaged there, or in the hours before it",
        )
        audited = Audited(
            record=unseen.record_id,
            mailbox=self._name(mailbox),
            committed_at=unseen.committed_at,
            deleted=unseen.deletion,
        )
        return _with(audited, verdict), verdict


def _with(audited: Audited, verdict: Verdict) -> Audited:
    return msgspec.structs.replace(
        audited,
        proof=verdict.outcome,
        object=verdict.key,
        reason=verdict.reason,
        remedy=verdict.remedy,
    )
