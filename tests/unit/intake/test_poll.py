"""Claiming, and what becomes of a mailbox after its session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
import structlog

from ingest.errors import (
    BuffersTaken,
    ConnectionFailed,
    LeaseLost,
    MailboxPaused,
    MailboxUnreadable,
    MaildropBusy,
    RegistryError,
    SignInRefused,
    StateUnavailable,
    StoreUnavailable,
    SuspectFatal,
)
from ingest.intake.policy import Pace
from ingest.intake.poll import Pacing, Poller
from ingest.intake.ports import Stop
from ingest.intake.pressure import BackPressure
from ingest.intake.report import SessionReport, Watch
from ingest.model import Lease, Mailbox
from ingest.observability import metrics
from tests.fakes.mail_values import mailbox
from tests.fakes.memory_state import MemorySchedule, MemoryState
from tests.fakes.world import Go


class Mailboxes:
    """A registry in a dict."""

    def __init__(self, *known: Mailbox) -> None:
        self.known = {one.id: one for one in known}

    def get(self, name_or_id: str) -> Mailbox:
        if name_or_id not in self.known:
            raise RegistryError(f"no mailbox {name_or_id!r}")
        return self.known[name_or_id]

    def update(self, mailbox: Mailbox, *, seen: Mailbox) -> Mailbox:
        if self.get(mailbox.id) != seen:
            raise RegistryError("it was changed meanwhile")
        self.known[mailbox.id] = mailbox
        return mailbox


class Fleet:
    """A poller with sessions that end as the test says."""

    def __init__(self, *names: str) -> None:
        self.state = MemoryState()
        self.schedule = MemorySchedule(self.state)
        self.mailboxes = Mailboxes(*map(mailbox, names))
        self.polled: list[str] = []
        self.errors: dict[str, Exception] = {}
        self.session_seconds = 0.0
        self.isolated: list[str] = []
        self.suspects = 0
        self.left = self.events = 0
        self.fatal = False
        self.waiting = 0
        self.closing = False
        self.poller = Poller(
            mailboxes=self.mailboxes,
            schedule=self.schedule,
            hold=self.hold,
            run_session=self.run_session,
            run_isolated=self.run_isolated,
            pacing=Pacing(Pace(30, 600), slots=10, lease_seconds=60),
            pressure=BackPressure(
                lambda: self.waiting, lambda: self.closing, lambda: self.state.clock
            ),
            clock=lambda: self.state.clock,
        )
        for one in self.mailboxes.known.values():
            self.schedule.schedule(one, 0)

    @contextmanager
    def hold(self, lease: Lease) -> Iterator[Stop]:
        assert self.state.holds(lease)
        yield Go()

    def run_session(
        self, mailbox: Mailbox, lease: Lease, stop: Stop, watch: Watch | None
    ) -> SessionReport:
        self.polled.append(mailbox.id)
        self.state.clock += self.session_seconds
        if mailbox.id in self.errors:
            raise self.errors[mailbox.id]
        return SessionReport(
            mailbox=mailbox.id, suspects=self.suspects, left=self.left, events=self.events
        )

    def run_isolated(self, mailbox: Mailbox, lease: Lease, stop: Stop) -> SessionReport:
        assert self.state.holds(lease)
        self.isolated.append(mailbox.id)
        if self.fatal:
            raise SuspectFatal("it died")
        self.suspects = 0
        return SessionReport(mailbox=mailbox.id)

    def poll(self) -> int:
        return self.poller.poll_group(mailbox("a").group)

    def due_in(self, mailbox_id: str) -> float | None:
        due = self.state.kept.due.get(mailbox("a").group, {})
        return due[mailbox_id] - self.state.clock if mailbox_id in due else None


def test_every_due_mailbox_is_polled_once_and_is_due_again_later() -> None:
    fleet = Fleet("a", "b", "c")
    assert fleet.poll() == 3
    assert sorted(fleet.polled) == ["mb-a", "mb-b", "mb-c"]
    assert fleet.poll() == 0
    assert 27 <= (fleet.due_in("mb-a") or 0) <= 50


def test_a_group_has_its_turn_and_leaves_the_thread_to_others_then() -> None:
    fleet = Fleet("a", "b", "c", "d")
    fleet.session_seconds = 20
    assert fleet.poll() == 2
    assert fleet.schedule.groups_due() == {mailbox("a").group: 2}
    assert fleet.poll() == 2


@pytest.mark.parametrize("error", [ConnectionFailed("cut"), ZeroDivisionError("a bug")])
def test_a_session_that_fails_does_not_hold_up_the_others(error: Exception) -> None:
    fleet = Fleet("a", "b")
    fleet.errors["mb-a"] = error
    assert fleet.poll() == 2
    assert fleet.due_in("mb-a") is not None
    assert b'"failures":1' in fleet.schedule.standing("mb-a")


def test_a_failed_session_says_so_to_who_asked_for_it() -> None:
    fleet = Fleet("a")
    fleet.errors["mb-a"] = ConnectionFailed("cut")
    lease = fleet.schedule.claim(mailbox("a").group, 10, 60)
    assert lease
    with pytest.raises(ConnectionFailed):
        fleet.poller.poll(lease)


def test_a_sign_in_refused_again_and_again_pauses_the_mailbox() -> None:
    fleet = Fleet("a")
    fleet.errors["mb-a"] = SignInRefused("no")
    for _ in range(4):
        fleet.poll()
        fleet.state.clock += 10_000
    assert "refused" in fleet.mailboxes.known["mb-a"].paused
    assert fleet.due_in("mb-a") is None
    assert fleet.poll() == 0


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConnectionFailed("cut"), "failed"),
        (SignInRefused("no"), "refused"),
        (MaildropBusy("in use"), "busy"),
        (StoreUnavailable("down"), ""),
        (LeaseLost("expired"), ""),
        (SuspectFatal("it died"), ""),
        (ZeroDivisionError("a bug"), ""),
    ],
)
def test_a_session_counts_for_its_provider_only_by_what_the_server_did(
    error: Exception, outcome: str
) -> None:
    def counted() -> dict[str, float]:
        name, host = "mail_ingest_provider_sessions_total", mailbox("a").host
        outcomes = ("completed", "refused", "busy", "failed")
        found = {
            each: metrics.registry.get_sample_value(name, {"provider": host, "outcome": each})
            for each in outcomes
        }
        return {each: value or 0 for each, value in found.items()}

    fleet = Fleet("a")
    fleet.poll()
    before = counted()
    fleet.errors["mb-a"] = error
    fleet.state.clock += 1000
    fleet.poll()
    after = counted()
    assert {each for each in after if after[each] != before[each]} == {outcome} - {""}


def test_mailboxes_that_are_paused_are_counted() -> None:
    def counted() -> float:
        return metrics.registry.get_sample_value("mail_ingest_mailboxes_paused_total") or 0

    fleet = Fleet("a")
    fleet.errors["mb-a"] = SignInRefused("no")
    before = counted()
    while fleet.poll():
        fleet.state.clock += 5000
    assert counted() == before + 1


def test_a_paused_mailbox_is_not_signed_in_to() -> None:
    fleet = Fleet("a")
    seen = mailbox("a")
    fleet.mailboxes.update(msgspec.structs.replace(seen, paused="by hand"), seen=seen)
    lease = fleet.schedule.claim(mailbox("a").group, 10, 60)
    assert lease
    with pytest.raises(MailboxPaused, match="by hand"):
        fleet.poller.poll(lease)
    assert not fleet.polled
    assert fleet.due_in("mb-a") is None


def test_a_mailbox_that_was_removed_meanwhile_is_no_trouble() -> None:
    fleet = Fleet("a")
    fleet.mailboxes.known.clear()
    assert fleet.poll() == 1
    assert not fleet.polled


def test_a_mailbox_whose_removal_broke_off_midway_is_not_due_again() -> None:
    fleet = Fleet("a")
    fleet.mailboxes.known.clear()
    fleet.poll()
    assert fleet.due_in("mb-a") is None


def test_messages_that_are_left_are_fetched_without_a_pause_while_there_is_anything_new() -> None:
    fleet = Fleet("a")
    fleet.left, fleet.events, fleet.session_seconds = 5, 2, 10
    assert fleet.poll() == 3
    fleet.events = 0
    assert fleet.poll() == 1
    due_in = fleet.due_in("mb-a")
    assert due_in
    assert due_in >= 27


def test_a_store_in_trouble_stops_claiming_for_a_while() -> None:
    fleet = Fleet("a", "b")
    fleet.errors["mb-a"] = StoreUnavailable("away")
    assert fleet.poll() == 1
    fleet.state.clock += 20
    fleet.errors.clear()
    assert fleet.poll() == 1


def test_sessions_that_hold_all_upload_buffers_do_not_stop_claiming() -> None:
    fleet = Fleet("a", "b")
    fleet.errors["mb-a"] = BuffersTaken("all are held")
    assert fleet.poll() == 2
    assert b'"failures":0' in fleet.schedule.standing("mb-a")


def test_a_full_outbox_stops_claiming() -> None:
    fleet = Fleet("a")
    fleet.waiting = 1_000_001
    assert fleet.poll() == 0
    fleet.waiting = 0
    fleet.state.clock += 10
    assert fleet.poll() == 1


def test_a_closing_process_claims_nothing() -> None:
    fleet = Fleet("a")
    fleet.closing = True
    assert fleet.poll() == 0


def test_a_standing_that_nobody_can_read_is_begun_anew() -> None:
    fleet = Fleet("a")
    fleet.state.kept.standing["mb-a"] = b"not json"
    assert fleet.poll() == 1
    assert fleet.due_in("mb-a") is not None


def test_a_lease_that_can_not_be_released_is_said_and_expires() -> None:
    fleet = Fleet("a")

    def fail(operation: str) -> None:
        if operation == "release":
            raise StateUnavailable("Redis is away")

    fleet.state.faults.append(fail)
    with structlog.testing.capture_logs() as lines:
        assert fleet.poll() == 1
    assert "lease_not_released" in [line["event"] for line in lines]


def test_what_a_session_left_aside_is_tried_at_once_in_a_process_of_its_own() -> None:
    fleet = Fleet("a")
    fleet.suspects = 2
    assert fleet.poll() == 2
    assert (fleet.polled, fleet.isolated) == (["mb-a"], ["mb-a"])
    assert fleet.due_in("mb-a")


def test_a_suspect_that_kills_its_process_lets_the_others_have_their_session_next() -> None:
    fleet = Fleet("a")
    fleet.suspects, fleet.fatal = 1, True
    assert fleet.poll() == 2
    assert fleet.due_in("mb-a")
    fleet.state.clock += 3600
    fleet.poll()
    assert fleet.polled == ["mb-a", "mb-a"]


def test_a_mailbox_that_has_another_limit_group_is_no_longer_polled_in_the_old_one() -> None:
    fleet = Fleet("a")
    moved = msgspec.structs.replace(mailbox("a"), host="elsewhere.example")
    fleet.mailboxes.update(moved, seen=mailbox("a"))
    assert fleet.poll() == 1
    assert not fleet.polled
    assert fleet.schedule.depth().scheduled == fleet.schedule.depth().leased == 0
    fleet.schedule.schedule(moved, 0)
    assert fleet.poller.poll_group(moved.group) == 1
    assert fleet.polled == ["mb-a"]


def test_a_mailbox_whose_password_was_changed_meanwhile_is_not_paused_for_the_old_one() -> None:
    fleet = Fleet("a")
    fleet.errors["mb-a"] = SignInRefused("no")
    for _ in range(3):
        fleet.poll()
        fleet.state.clock += 10_000
    changed = msgspec.structs.replace(mailbox("a"), password="env:NEW")
    reached = fleet.run_session

    def change_meanwhile(
        mailbox: Mailbox, lease: Lease, stop: Stop, watch: Watch | None
    ) -> SessionReport:
        fleet.mailboxes.update(changed, seen=mailbox)
        return reached(mailbox, lease, stop, watch)

    fleet.poller._run_session = change_meanwhile
    assert fleet.poll() == 1
    assert fleet.mailboxes.known["mb-a"] == changed


def test_a_mailbox_that_only_a_newer_worker_can_read_stays_in_the_schedule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = Fleet("a", "b")
    get = fleet.mailboxes.get

    def of_tomorrow(name_or_id: str) -> Mailbox:
        if name_or_id == "mb-a":
            raise MailboxUnreadable("mailbox mb-a has settings that this version can't read")
        return get(name_or_id)

    monkeypatch.setattr(fleet.mailboxes, "get", of_tomorrow)
    assert fleet.poll() == 2
    assert fleet.polled == ["mb-b"]
    assert 200 < (fleet.due_in("mb-a") or 0) < 400
    assert b"this version can't read" in fleet.schedule.standing("mb-a")
