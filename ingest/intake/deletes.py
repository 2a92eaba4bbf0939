"""What a session deletes: DELE, and only by what this very session has seen to be stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import structlog

from ingest.errors import DeletesBraked
from ingest.intake.policy import Known
from ingest.intake.ports import Brake, Farewell, Maildrop
from ingest.intake.report import SessionReport
from ingest.model import Listed
from ingest.observability import metrics

log = structlog.get_logger(__name__)


class Deletes:
    """The DELEs of one session, which its server carries out when it has answered QUIT.

    Args:
        maildrop: where they are sent.
        brake: stops them.
        report: where they are counted.
    """

    def __init__(self, maildrop: Maildrop, brake: Brake, report: SessionReport) -> None:
        self._maildrop = maildrop
        self._brake = brake
        self._report = report
        self._evidence: set[int] = set()  # message-numbers of what is certainly stored
        self._sent: dict[int, str | None] = {}  # message-number to unique-id

    def prove(self, listed: Listed) -> None:
        """This session has seen that the message is stored."""
        self._evidence.add(listed.number)

    def send(self, listed: Listed) -> None:
        """DELE, if this session has seen that the message is stored."""
        if listed.number not in self._evidence:
            self._report.unproven += 1
            metrics.deletes_without_evidence.inc()
            log.critical("delete_without_evidence", number=listed.number)
            return
        self._maildrop.delete(listed.number)
        self._sent[listed.number] = listed.unique_id

    def send_known(self, candidates: Sequence[Known]) -> Iterator[Listed]:
        """DELE what an earlier session has certainly stored; yield what is not certain."""
        by_number = {candidate.listed.number: candidate for candidate in candidates}
        for number, block in self._maildrop.header_blocks(by_number):
            listed, entry = by_number[number]
            if block is None or hashlib.sha256(block).hexdigest() != entry.header_sha256:
                yield listed
                continue
            metrics.messages.labels("known").inc()
            self._report.ignored_deletes += entry.deleted
            self.prove(listed)
            self.send(listed)

    def refuse_under_the_brake(self) -> None:
        """Ask once more, as late as can be: QUIT is what deletes.

        Raises:
            DeletesBraked: nothing may be deleted now.
        """
        if self._sent and (reason := self._brake.allow(len(self._sent))):
            raise DeletesBraked(
                f"mailbox {self._report.mailbox}: nothing was deleted: {reason}",
                remedy="see what is wrong, then: ingest brake release",
            )

    def confirmed(self, farewell: Farewell) -> list[str]:
        """The unique-ids of what the server has deleted."""
        return [name for number in farewell.deleted if (name := self._sent[number])]

    def give_up(self) -> None:
        """The server may have carried out none of them: who knows?"""
        metrics.deletes.labels("unconfirmed").inc(len(self._sent))
