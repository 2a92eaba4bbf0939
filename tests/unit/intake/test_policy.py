"""The pure decisions: what to retrieve, what to delete, when to come back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec
import pytest

from ingest.errors import (
    ConnectionFailed,
    IngestError,
    LeaseLost,
    MailboxPaused,
    MaildropBusy,
    RegistryError,
    SignInRefused,
    StateUnavailable,
    StoreUnavailable,
)
from ingest.intake.policy import (
    Next,
    Pace,
    Standing,
    after_failure,
    after_success,
    care,
    is_short,
    may_delete,
    plan,
)
from ingest.model import DeleteRule, Horizon, LedgerEntry, Listed

NOW = 1_000_000.0
HORIZON = Horizon(NOW, NOW - 60)
COMMITTED = DeleteRule("committed")
NEVER = DeleteRule("never")
PUBLISHED = DeleteRule("published")
SHADOW = DeleteRule("shadow")
A_WEEK = DeleteRule("after", timedelta(days=7))
PACE = Pace(shortest=30, longest=600)


def entry(
    octets: int = 100, *, header: str = "h", at: float = NOW, deleted: bool = False
) -> LedgerEntry:
    return LedgerEntry("record", octets, header, at, deleted)


def test_an_unknown_message_is_retrieved() -> None:
    listed = Listed(1, 100, "a")
    assert plan([listed], {}, COMMITTED, HORIZON).retrieve == (listed,)


def test_a_message_without_a_unique_id_is_retrieved() -> None:
    listed = Listed(1, 100, None)
    assert plan([listed], {}, NEVER, HORIZON).retrieve == (listed,)


def test_a_message_stored_earlier_is_deleted_after_its_header_block_is_checked() -> None:
    listed = Listed(1, 100, "a")
    decided = plan([listed], {"a": entry()}, COMMITTED, HORIZON)
    assert [known.listed for known in decided.delete] == [listed]
    assert decided.retrieve == ()


def test_a_known_unique_id_with_another_size_is_a_new_message() -> None:
    listed = Listed(1, 101, "a")
    assert plan([listed], {"a": entry(100)}, COMMITTED, HORIZON).retrieve == (listed,)


def test_a_known_message_without_a_header_hash_is_retrieved_again() -> None:
    listed = Listed(1, 100, "a")
    assert plan([listed], {"a": entry(header="")}, COMMITTED, HORIZON).retrieve == (listed,)


def test_strict_evidence_retrieves_again_instead_of_trusting_an_earlier_session() -> None:
    listed = Listed(1, 100, "a")
    decided = plan([listed], {"a": entry()}, COMMITTED, HORIZON, strict=True)
    assert decided.retrieve == (listed,)
    assert decided.delete == ()


def test_never_keeps_what_is_stored() -> None:
    listed = Listed(1, 100, "a")
    assert plan([listed], {"a": entry(at=0)}, NEVER, HORIZON).keep == (listed,)


def test_after_a_week_means_a_week_after_the_commit() -> None:
    young, old = Listed(1, 100, "young"), Listed(2, 100, "old")
    known = {"young": entry(at=NOW - 604_799), "old": entry(at=NOW - 604_800)}
    decided = plan([young, old], known, A_WEEK, HORIZON)
    assert decided.keep == (young,)
    assert [one.listed for one in decided.delete] == [old]


def test_a_new_message_may_be_deleted_at_once_only_by_the_default_rule() -> None:
    assert may_delete(COMMITTED, NOW, HORIZON)
    assert not may_delete(NEVER, 0, HORIZON)
    assert not may_delete(A_WEEK, NOW, HORIZON)


@pytest.mark.parametrize(
    ("listed", "octets", "short"),
    [(1000, 0, False), (10_000, 5_000, True), (1_000_000, 950_000, False), (100, 500, False)],
)
def test_only_a_message_far_shorter_than_listed_is_suspected(
    listed: int, octets: int, *, short: bool
) -> None:
    assert is_short(listed, octets) is short


def success(
    standing: Standing, *, arrived: int = 0, left: int = 0, at_least: float = 0
) -> tuple[float, Standing]:
    after = after_success(
        standing,
        PACE,
        arrived=arrived,
        suspects=0,
        left=left,
        at_least=at_least,
        now=NOW,
        jitter=0.5,
    )
    return after.due_in, after.standing


def test_mail_that_arrives_brings_the_shortest_interval() -> None:
    due_in, standing = success(Standing(interval=600), arrived=1)
    assert (due_in, standing.interval) == (30, 30)


def test_silence_lengthens_the_interval_up_to_the_longest() -> None:
    standing = Standing()
    for _ in range(20):
        standing = success(standing)[1]
    assert success(standing) == (600, Standing(interval=600, polled_at=NOW))


def test_what_a_session_left_is_fetched_without_a_pause() -> None:
    assert success(Standing(), arrived=5, left=1)[0] == 0


def test_nothing_comes_back_sooner_than_the_servers_login_delay() -> None:
    assert success(Standing(), arrived=5, left=1, at_least=900)[0] == 900


def test_success_forgets_earlier_failures() -> None:
    assert success(Standing(failures=3, error="connection", message="x"))[1].failures == 0


def failure(error: IngestError, failures: int = 0) -> Next:
    return after_failure(Standing(failures=failures), PACE, error, now=NOW, jitter=0.5)


def test_failures_in_a_row_back_off_to_an_hour_at_most() -> None:
    delays = [failure(ConnectionFailed("x"), failures).due_in for failures in range(12)]
    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (30, 3600)


def test_a_refused_sign_in_is_tried_three_times_before_the_mailbox_is_paused() -> None:
    assert pauses([SignInRefused("no")] * 4) == [False, False, False, True]


def test_one_refusal_at_the_end_of_an_outage_does_not_pause_the_mailbox() -> None:
    outage: list[IngestError] = [ConnectionFailed("no route")] * 5
    assert not any(pauses([*outage, SignInRefused("no"), *outage, SignInRefused("no")]))


def pauses(errors: Sequence[IngestError]) -> list[bool]:
    """Whether each of these failures in a row pauses the mailbox."""
    standing = Standing()
    paused = []
    for error in errors:
        decided = after_failure(standing, PACE, error, now=0.0, jitter=0.5)
        standing = decided.standing
        paused.append(bool(decided.pause))
    return paused


def test_after_publishing_a_message_is_deleted_once_every_sink_has_its_event() -> None:
    waits_since = HORIZON.accepted_before
    assert may_delete(PUBLISHED, waits_since - 1, HORIZON)
    # Entries are dated to the second: its event may be the one that waits.
    assert not may_delete(PUBLISHED, waits_since - 0.5, HORIZON)


def test_what_is_committed_only_now_was_not_published_whatever_the_clock_says() -> None:
    set_back = Horizon(now=NOW - 300, accepted_before=NOW)
    assert not may_delete(PUBLISHED, None, set_back)
    assert not may_delete(A_WEEK, None, set_back)
    assert may_delete(COMMITTED, None, set_back)


def test_what_was_only_rehearsed_is_retrieved_once_it_is_meant() -> None:
    listed = Listed(1, 100, "a")
    rehearsed = {"a": msgspec.structs.replace(entry(), rehearsal=True)}
    assert plan([listed], rehearsed, SHADOW, HORIZON).keep == (listed,)
    for rule in (COMMITTED, PUBLISHED, NEVER):
        assert plan([listed], rehearsed, rule, HORIZON).retrieve == (listed,)


def test_a_message_that_breaks_sessions_is_tried_ever_more_rarely_but_for_ever() -> None:
    tried = [attempts for attempts in range(1, 70) if care(attempts) != "skip"]
    assert tried == [1, 2, 3, 4, 5, 6, 8, 16, 32, 64]
    assert [care(attempts) for attempts in (3, 4)] == ["parse", "raw"]


def test_a_busy_maildrop_is_not_hammered() -> None:
    assert failure(MaildropBusy("in use"), 4).due_in == 300


@pytest.mark.parametrize("error", [StoreUnavailable("x"), StateUnavailable("x"), LeaseLost("x")])
def test_our_own_trouble_is_not_held_against_the_mailbox(error: IngestError) -> None:
    decided = failure(error, failures=2)
    assert decided.standing.failures == 2
    assert decided.due_in == PACE.shortest


def test_a_secret_that_one_worker_can_not_read_does_not_pause_the_mailbox_for_all() -> None:
    decided = failure(RegistryError("no key opens the password"))
    assert not decided.pause
    assert decided.due_in == 300
    assert "no key" in decided.standing.message


def test_a_mailbox_found_paused_stays_out_of_the_schedule() -> None:
    assert failure(MailboxPaused("paused by hand")).pause
