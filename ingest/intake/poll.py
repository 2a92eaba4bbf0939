"""Claim a mailbox, hold one session with it, give it back with its next due time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import NamedTuple, Protocol

import msgspec
import structlog

from ingest.errors import (
    IngestError,
    LeaseLost,
    MailboxPaused,
    MailboxUnreadable,
    MaildropBusy,
    RegistryError,
    SessionError,
    SessionStopped,
    SignInRefused,
    StateError,
    SuspectFatal,
)
from ingest.failpoints import reach
from ingest.intake import policy
from ingest.intake.ports import Mailboxes, Schedule, Stop
from ingest.intake.pressure import BackPressure
from ingest.intake.report import SessionReport, Watch
from ingest.model import Lease, Mailbox
from ingest.observability import metrics, tracing

log = structlog.get_logger()

# So long a call may claim; then its thread is for others, and what is due gets another hint.
_TURN_SECONDS = 30.0

_encoder = msgspec.json.Encoder()


class Pacing(NamedTuple):
    """How often and how many at a time."""

    pace: policy.Pace
    slots: int  # sessions at a time in a group
    lease_seconds: float


class RunSession(Protocol):
    """Connects, signs in and holds one session."""

    def __call__(
        self, mailbox: Mailbox, lease: Lease, stop: Stop, watch: Watch | None
    ) -> SessionReport:
        """Raises IngestError where the session failed."""


class Poller:
    """Holds sessions, one after the other, and keeps the schedule.

    Args:
        mailboxes: the registry.
        schedule: due times and leases.
        hold: keeps a lease alive while its block runs, and says when to stop.
        run_session: the session.
        run_isolated: sessions in processes of their own, with what `run_session` left aside.
        pacing: how often and how many.
        pressure: says when nothing should be claimed.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        mailboxes: Mailboxes,
        schedule: Schedule,
        hold: Callable[[Lease], AbstractContextManager[Stop]],
        run_session: RunSession,
        run_isolated: Callable[[Mailbox, Lease, Stop], SessionReport],
        pacing: Pacing,
        pressure: BackPressure,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mailboxes = mailboxes
        self._schedule = schedule
        self._hold = hold
        self._run_session = run_session
        self._run_isolated = run_isolated
        self._pacing = pacing
        self._pressure = pressure
        self._clock = clock

    def poll_group(self, group: str) -> int:
        """Hold sessions with the group's due mailboxes until none is due; how many.

        Claims no more after half a minute, so that other groups and tasks have their turn.
        A session that fails is logged and counted; the next mailbox is claimed all the same.

        Raises:
            StateError: nothing can be claimed.
        """
        sessions = 0
        ends = self._clock() + _TURN_SECONDS
        while self._clock() < ends and not self._pressure():
            lease = self._schedule.claim(group, self._pacing.slots, self._pacing.lease_seconds)
            if lease is None:
                break
            reach("claimed")
            sessions += 1
            with suppress(Exception):  # logged and counted by poll
                self.poll(lease)
        return sessions

    def poll(self, lease: Lease, watch: Watch | None = None) -> SessionReport:
        """Hold one session with a leased mailbox and give the lease back.

        Raises:
            IngestError: the session failed; nothing uncommitted was deleted.
        """
        with (
            structlog.contextvars.bound_contextvars(mailbox=lease.mailbox, session=lease.id),
            tracing.span("session", mailbox=lease.mailbox, host=lease.host),
            self._hold(lease) as stop,
        ):
            standing, mailbox = policy.Standing(), None
            try:
                standing = self._standing(lease.mailbox)
                mailbox = self._active(lease)
                if standing.suspects:
                    report = self._run_isolated(mailbox, lease, stop)
                else:
                    report = self._run_session(mailbox, lease, stop, watch)
            except Exception as error:
                self._note_failure(lease, standing, error, mailbox)
                raise
            try:
                self._note_success(lease, standing, report)
            except StateError as error:  # the lease expires, and the mailbox is due then
                log.warning("lease_not_released", code=error.code, reason=str(error))
            return report

    def _active(self, lease: Lease) -> Mailbox:
        try:
            mailbox = self._mailboxes.get(lease.mailbox)
        except MailboxUnreadable:
            raise  # another worker may be newer
        except RegistryError:  # who removed it died before it left the schedule
            self._schedule.unschedule(lease.mailbox, lease.group)
            raise
        if mailbox.group != lease.group:  # who changed it died, or somebody claimed it meanwhile
            self._schedule.unschedule(mailbox.id, lease.group)
            raise LeaseLost(
                f"mailbox {mailbox.id} has another host or tenant now, and is due there",
                remedy="nothing to do: its next session is held there",
            )
        if mailbox.paused:
            raise MailboxPaused(
                f"mailbox {mailbox.name!r} is paused: {mailbox.paused}",
                remedy=f"ingest mailbox resume {mailbox.name}",
            )
        return mailbox

    def _standing(self, mailbox: str) -> policy.Standing:
        kept = self._schedule.standing(mailbox)
        try:
            return msgspec.json.decode(kept or b"{}", type=policy.Standing)
        except msgspec.DecodeError:
            log.warning("standing_unreadable")
            return policy.Standing()

    def _note_success(self, lease: Lease, standing: policy.Standing, report: SessionReport) -> None:
        metrics.sessions.labels("completed").inc()
        metrics.count_provider(lease.host, "completed")
        metrics.session_seconds.observe(report.seconds)
        after = policy.after_success(
            standing,
            self._pacing.pace,
            arrived=report.events,
            left=report.left if report.events or report.deleted else 0,
            suspects=report.suspects,
            at_least=report.login_delay,
            now=self._schedule.now(),
            jitter=random.random(),  # noqa: S311 - spreads load, hides nothing
        )
        self._schedule.release(lease, after.due_in, _encoder.encode(after.standing))
        reach("released")
        tracing.note(committed=report.committed, octets=report.octets, deleted=report.deleted)
        log.info("session_completed", **msgspec.structs.asdict(report))

    def _note_failure(
        self,
        lease: Lease,
        standing: policy.Standing,
        error: Exception,
        mailbox: Mailbox | None,
    ) -> None:
        known = error if isinstance(error, IngestError) else IngestError("a bug of mail-ingest")
        metrics.sessions.labels("stopped" if isinstance(error, SessionStopped) else "failed").inc()
        metrics.count_error(error)
        if outcome := _by_server(known):
            metrics.count_provider(lease.host, outcome)
        self._pressure.note(error)
        if known is error:
            log.warning("session_failed", code=known.code, reason=str(error), remedy=known.remedy)
        else:
            log.error("session_broke", exc_info=error)
        with suppress(StateError):  # the lease expires, and the mailbox is due then
            after = policy.after_failure(
                standing,
                self._pacing.pace,
                known,
                now=self._schedule.now(),
                jitter=random.random(),  # noqa: S311 - spreads load, hides nothing
            )
            if after.pause and mailbox:
                self._pause(mailbox, after.pause)
            due_in = None if after.pause else after.due_in
            self._schedule.release(lease, due_in, _encoder.encode(after.standing))

    def _pause(self, mailbox: Mailbox, reason: str) -> None:
        """Stop polling a mailbox until a person acts; not one that has changed since."""
        with suppress(RegistryError):
            paused = msgspec.structs.replace(mailbox, paused=reason)
            self._mailboxes.update(paused, seen=mailbox)
            metrics.mailboxes_paused.inc()
            log.error("mailbox_paused", reason=reason)


def _by_server(error: IngestError) -> str:
    """What `metrics.provider_sessions` calls it; empty: not the server's doing."""
    match error:
        case SessionStopped() | SuspectFatal():
            return ""
        case SignInRefused():
            return "refused"
        case MaildropBusy():
            return "busy"
        case SessionError():
            return "failed"
    return ""
