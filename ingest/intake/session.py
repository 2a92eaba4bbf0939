"""One session with one maildrop, top to bottom.

`Session.run` is where the safety of the system stands: commit, then DELE, then QUIT, then settle,
as consecutive statements. While a batch is being written the next one is retrieved.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, wait
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

import structlog

from ingest.errors import (
    CommandRefused,
    RemoteProtocolError,
    SessionError,
    SessionStopped,
)
from ingest.failpoints import reach
from ingest.intake import policy
from ingest.intake.attempts import Attempts
from ingest.intake.batch import LARGE_OCTETS, Batch, BatchLimits, Member
from ingest.intake.deletes import Deletes
from ingest.intake.in_flight import InFlight, SealedBatch, write_behind
from ingest.intake.message import Draft, Thresholds, Unparsable, described
from ingest.intake.ports import Brake, Ledger, Log, Maildrop, Retrieval, Stop
from ingest.intake.probe import Recognition
from ingest.intake.queue import Queue, SessionLimits
from ingest.intake.report import SessionReport, Watch, note_committed, note_deleted
from ingest.model import SHORTER_THAN_LISTED, Defect, DeleteRule, Lease, Listed, Mailbox
from ingest.observability import metrics, tracing

log = structlog.get_logger(__name__)

# Rules by which a message that is retrieved may or may not be deleted at once.
_DELAYED = {"after", "published"}

# What every delete rule becomes under the brake.
_KEEP = DeleteRule("never")

# Between two looks at a session whose server waits for us while the store takes its time.
_LOOK_SECONDS = 1.0


class SessionSettings(NamedTuple):
    """What is the same for all sessions of a process."""

    limits: SessionLimits
    batch_limits: BatchLimits
    thresholds: Thresholds
    deployment: str
    strict_evidence: bool


class Session:
    """One session. Made for one `run`.

    Args:
        mailbox: whose maildrop it is.
        lease: our right to it.
        maildrop: signed in.
        objects: the log of commit objects.
        ledger: the index.
        committer: where commit objects are written while the next batch is retrieved.
        in_flight: the batches of all sessions of the process that are written and not yet ours.
        settings: limits and thresholds.
        brake: stops deletes.
        stop: ends the session early.
        watch: sees the progress.
        isolated: this process is there for suspects, and takes in nothing else.
        recognise: tells the probes of a canary; None: the mailbox is none.
    """

    def __init__(  # noqa: PLR0913 - a port each, and what the session is about
        self,
        *,
        mailbox: Mailbox,
        lease: Lease,
        maildrop: Maildrop,
        objects: Log,
        ledger: Ledger,
        committer: Executor,
        in_flight: InFlight,
        settings: SessionSettings,
        brake: Brake,
        stop: Stop,
        watch: Watch | None = None,
        isolated: bool = False,
        recognise: Recognition | None = None,
    ) -> None:
        self._isolated = isolated
        self._recognise = recognise
        self._mailbox = mailbox
        self._rule = DeleteRule.parse(mailbox.delete)
        self._rehearsal = self._rule.mode == "shadow"
        self._brake = brake
        self._lease = lease
        self._maildrop = maildrop
        self._objects = objects
        self._ledger = ledger
        self._committer = committer
        self._in_flight = in_flight
        self._settings = settings
        self._stop = stop
        self._watch = watch
        self._started = self._listed_at = time.monotonic()
        self._listed: list[str] = []  # all that is in the maildrop, by `alias`
        self._attempts = Attempts(ledger, lease)
        self._unparsable: list[Listed] = []
        self._cut: list[Listed] = []  # messages that may have been cut on the way
        self._refused: list[Listed] = []
        self._queue: Queue | None = None
        self._broken: SessionError | None = None  # what ended the retrieving
        self.report = SessionReport(mailbox=mailbox.id, login_delay=maildrop.login_delay)
        self._deletes = Deletes(maildrop, brake, self.report)

    def run(self) -> SessionReport:
        """Retrieve, commit, delete, quit, settle. In this order, or not at all.

        Raises:
            IngestError: the connection was dropped without QUIT, so the server deleted nothing.
                What was committed until then is ours and is recognised next time.
        """
        try:
            for batch, writing in self._batches():
                self._wait(writing)  # the commit point: records and parts are durable
                events = self._ledger.commit(self._lease, batch.commitments())
                reach("ledger-updated")
                self._note_committed(batch, events)
                for member in batch.members:
                    if member.delete:
                        self._deletes.send(member.listed)
            self._refuse_to_quit_after_a_break()
            self._deletes.refuse_under_the_brake()
            self._attempts.finish(self._refused)
            farewell = self._maildrop.quit()
            self._ledger.settle(self._lease, self._deletes.confirmed(farewell))
            reach("settled")
            self._ledger.forget(self._lease, self._listed)
        except BaseException as error:
            self._maildrop.drop()
            self._deletes.give_up()
            self._attempts.end_by(error, suspects=self._suspects())
            raise
        finally:
            if self._queue:
                self._queue.close()
            self.report.seconds = time.monotonic() - self._started
        note_deleted(self.report, farewell)
        return self.report

    def _wait(self, writing: Future[None]) -> None:
        """Until the batch is durable; the session is kept alive meanwhile, if that goes.

        If not, QUIT will find out: what is stored must become ours first.

        Raises:
            IngestError: it could not be written.
        """
        while not wait([writing], _LOOK_SECONDS).done:
            self._stop.check()
            try:
                self._maildrop.keep_alive()
            except SessionStopped:
                raise
            except SessionError as error:
                log.warning("keep_alive_failed", code=error.code, reason=str(error))
                break
        writing.result()

    # What to retrieve

    def _wanted(self) -> list[Listed]:
        """The messages to retrieve. Those stored by an earlier session get their DELE here."""
        if reason := self._brake.reason():
            log.warning("deletes_braked", reason=reason)
            self.report.braked = reason
            self._rule = _KEEP
        listing = self._maildrop.listing()
        self._listed_at = time.monotonic()
        self._listed = [policy.alias(listed) for listed in listing]
        known = self._ledger.known(self._mailbox.id, self._listed) if self._listed else {}
        plan = policy.plan(
            listing,
            known,
            self._rule,
            self._ledger.horizon(self._mailbox.id),
            strict=self._settings.strict_evidence,
        )
        self.report.listed = len(listing)
        self.report.listed_octets = sum(listed.octets for listed in listing)
        self.report.kept = len(plan.keep)
        wanted = [*plan.retrieve, *self._deletes.send_known(plan.delete)]
        wanted.sort(key=lambda listed: listed.number)
        if self._rule.mode != "committed":
            wanted = policy.in_turn(wanted, random.random())  # noqa: S311 - hides nothing
        innocent, suspects = self._attempts.suspicion(wanted)
        chosen = self._attempts.lineup(suspects) if self._isolated else innocent
        self.report.suspects = len(suspects) - len(chosen) * self._isolated
        return chosen

    # Retrieving

    def _batches(self) -> Iterator[SealedBatch]:
        """Retrieve into batches, and write these; each when it is likely to be written."""
        wanted = self._wanted()
        if self._watch:
            self._watch.listed(len(wanted), sum(listed.octets for listed in wanted))
        return write_behind(self._filled(wanted), self._committer, self._in_flight)

    def _filled(self, wanted: list[Listed]) -> Iterator[Batch | None]:
        """Batches with their messages in them, complete but for their parts' last octets.

        None after each message, before the next, which may take hours. Where the connection breaks,
        what came whole until then is a batch too.
        """
        batch = self._open_batch()
        try:
            for listed, retrieval, parse in self._retrievals(wanted):
                if batch.members and (batch.full or listed.octets >= LARGE_OCTETS):
                    yield batch
                    batch = self._open_batch()
                self._receive(listed, retrieval, batch, parse=parse)
                yield None
        except SessionStopped:
            raise
        except SessionError as error:
            self._broken = error
        if batch.members:
            yield batch

    def _retrievals(self, wanted: list[Listed]) -> Iterator[tuple[Listed, Retrieval, bool]]:
        """RETR all, then once more, unparsed, those that could not be parsed."""
        by_number = {listed.number: listed for listed in wanted}
        self._queue = Queue(
            wanted, self._attempts, self._settings.limits, self._starts_no_more, self.report
        )
        numbers = (listed.number for listed in self._queue)
        for retrieval in self._maildrop.retrieve(numbers):
            listed = by_number[retrieval.number]
            yield listed, retrieval, self._attempts.care(listed) == "parse"
            self._queue.finish()
        for retrieval in self._maildrop.retrieve([listed.number for listed in self._unparsable]):
            if retrieval.refusal is not None:
                # It was retrieved and is stored nowhere: some servers hide what was retrieved in
                # a session that ends with QUIT.
                raise CommandRefused(
                    f"mailbox {self._mailbox.id}: the server refuses to send message "
                    f"{retrieval.number} a second time: {retrieval.refusal!r}",
                    remedy="nothing to do: a later session stores it unparsed at once",
                )
            yield by_number[retrieval.number], retrieval, False

    def _starts_no_more(self) -> bool:
        return bool(self._cut) or self._stop.closing

    def _open_batch(self) -> Batch:
        return Batch(self._objects, self._settings.batch_limits, self._lease.id)

    def _receive(self, listed: Listed, retrieval: Retrieval, batch: Batch, *, parse: bool) -> None:
        """Take one message in and let it join the batch."""
        if retrieval.refusal is not None:
            self.report.refused += 1
            self._refused.append(listed)
            metrics.messages.labels("refused").inc()
            log.warning("message_refused", number=listed.number)
            return
        with (
            tracing.span("message", number=listed.number, listed=listed.octets, parsed=parse),
            self._draft(batch, parse=parse) as draft,
        ):
            try:
                for octets in retrieval:
                    self._stop.check()
                    reach("octets-received")
                    draft.feed(octets)
                    self._refuse_endless(listed, draft.octets)
                    if self._watch:
                        self._watch.received(len(octets))
                draft.end()
            except Unparsable as error:
                seen = described(error)
                log.error("message_unparsable", number=listed.number, **seen)  # noqa: TRY400 - its text may quote mail
                self._unparsable.append(listed)
                for _ in retrieval:
                    self._stop.check()
                return
            self._join(listed, draft, batch)

    def _draft(self, batch: Batch, *, parse: bool) -> Draft:
        thresholds = self._settings.thresholds
        return Draft(batch, thresholds, parse=parse, recognise=self._recognise)

    def _join(self, listed: Listed, draft: Draft, batch: Batch) -> None:
        """Decide what becomes of a message that is here whole, and let it join the batch."""
        self.report.retrieved += 1
        self.report.octets += draft.octets
        short = policy.is_short(listed.octets, draft.octets)
        if short:
            draft.defects.append(Defect(SHORTER_THAN_LISTED, note=f"listed {listed.octets}"))
        delete, already = not short and self._rule.mode == "committed", False
        identity = draft.record_id(self._mailbox.id, rehearsal=self._rehearsal)
        tracing.note(record=identity, octets=draft.octets)
        if not delete and (short or listed.unique_id is None or self._rule.mode in _DELAYED):
            delete, already = self._may_delete(identity)
            delete = delete and not short
        if short and not already:  # what came twice the same was not cut on its way
            self._note_cut(listed)
        if already and not delete and (short or listed.unique_id is None):
            self.report.kept += not short
            if not short:
                self._attempts.committed(listed)
            return  # committed by an earlier session, and nothing to remember it by
        record, skeleton = draft.commit(
            identity=identity,
            mailbox_id=self._mailbox.id,
            tenant=self._mailbox.tenant,
            listed=listed,
            retrieved_at=datetime.now(UTC),
            deployment=self._settings.deployment,
            rehearsal=self._rehearsal,
            objects=self._objects,
        )
        batch.join(Member(listed, record, skeleton, delete=delete, memorable=not short))

    def _may_delete(self, record_id: str) -> tuple[bool, bool]:
        """Whether this record may be deleted now, and whether it was committed before."""
        committed = self._ledger.committed(self._mailbox.id, [record_id])
        horizon = self._ledger.horizon(self._mailbox.id)
        at = committed.get(record_id)
        return policy.may_delete(self._rule, at, horizon), at is not None

    # What came of it

    def _note_committed(self, batch: Batch, events: int) -> None:
        """The batch is ours: evidence for its DELEs, figures, log lines."""
        for member in batch.members:
            self._deletes.prove(member.listed)
            self._attempts.committed(member.listed)
        note_committed(self.report, batch, events, time.monotonic() - self._listed_at)
        if self._watch:
            self._watch.committed([member.record for member in batch.members])

    def _note_cut(self, listed: Listed) -> None:
        """Remember a message that may have been cut, unless it came so in earlier sessions too."""
        if self._attempts.care(listed) == "parse":
            self._cut.append(listed)

    def _suspects(self) -> list[Listed]:
        """The messages that keep their attempt where the session failed."""
        coming = self._queue.started if self._queue and self._broken else ()
        return [*self._cut, *self._unparsable, *islice(coming, 1)]

    def _refuse_endless(self, listed: Listed, octets: int) -> None:
        """A server may announce little and send for ever.

        Raises:
            RemoteProtocolError: the message is far longer than LIST announced.
        """
        if octets > policy.most_octets(listed.octets):
            raise RemoteProtocolError(
                f"mailbox {self._mailbox.id}: message {listed.number} goes on after {octets} "
                f"octets, though LIST announced {listed.octets}",
                remedy="after some attempts it is skipped; ask the server's operator",
            )

    def _refuse_to_quit_after_a_break(self) -> None:
        """A server or a path that breaks or cuts messages is not told to delete anything.

        Raises:
            SessionError: it broke; or a message had far fewer octets than LIST announced.
        """
        if self._broken:
            raise self._broken
        if self._cut:
            first = self._cut[0]
            raise RemoteProtocolError(
                f"mailbox {self._mailbox.id}: message {first.number} came with far fewer octets "
                f"than the {first.octets} that LIST announced; it is stored, and nothing was "
                "deleted",
                remedy="the next session tries again; if it stays so, look at the message's record",
            )
