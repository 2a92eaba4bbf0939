"""One session: what it retrieves, deletes, keeps and reports."""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from ingest.errors import (
    CommandRefused,
    ConnectionFailed,
    DeletesBraked,
    RemoteProtocolError,
    SessionStopped,
    StoreUnavailable,
)
from ingest.events.schema import INGESTED, PROBED, REHEARSED
from ingest.intake import policy
from ingest.intake.policy import MOST_ATTEMPTS
from ingest.intake.probe import Recognition, compose, new_probe
from ingest.mime import splitter
from ingest.mime.splitter import Splitter
from ingest.model import NOT_PARSED, Submission
from ingest.state.secrets import Keyring, new_key
from tests.fakes.world import World

ONE = b"Subject: one\r\n\r\nfirst\r\n"
TWO = b"Subject: two\r\n\r\nother\r\n"  # as many octets as the first
LONG = b"Subject: long\r\n\r\n" + b"x" * 98 + b"\r\n" + b"y" * 20_000 + b"\r\n"


def sha256(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def test_everything_is_stored_published_and_deleted() -> None:
    world = World()
    for octets in (ONE, TWO, LONG):
        world.deliver(octets)
    report = world.session()
    world.assert_all_is_published()
    assert not world.server.messages
    assert (report.retrieved, report.committed, report.deleted, report.events) == (3, 3, 3, 3)
    assert report.octets == len(ONE) + len(TWO) + len(LONG)


def test_an_empty_maildrop_is_left_as_it_is() -> None:
    world = World()
    assert world.session().listed == 0
    assert not world.store.objects


# Evidence


def test_a_message_stored_by_an_earlier_session_is_deleted_without_retrieving_it_again() -> None:
    world = World()
    world.deliver(ONE)
    world.server.ignore_deletes = True
    world.session()
    world.server.ignore_deletes = False
    world.steps.clear()
    report = world.session()
    assert "top" in world.steps
    assert "retrieve" not in world.steps
    assert (report.deleted, report.events, report.ignored_deletes) == (1, 0, 1)
    assert not world.server.messages


def test_a_unique_id_given_to_another_message_of_the_same_size_deletes_nothing_unseen() -> None:
    world = World()
    world.deliver(ONE, "reused")
    world.session()
    world.deliver(TWO, "reused")
    report = world.session()
    assert report.retrieved == 1
    world.assert_all_is_published()


def test_a_server_that_refuses_top_is_asked_for_the_whole_message() -> None:
    world = World()
    world.deliver(ONE)
    world.server.ignore_deletes = True
    world.session()
    world.server.refuse_top = True
    world.server.ignore_deletes = False
    assert world.session().retrieved == 1
    assert not world.server.messages
    world.assert_all_is_published()


def test_strict_evidence_retrieves_again() -> None:
    world = World(strict=1)
    world.deliver(ONE)
    world.server.ignore_deletes = True
    world.session()
    assert world.session().retrieved == 1


def test_a_unique_id_listed_twice_is_no_evidence_and_both_messages_are_stored() -> None:
    world = World()
    world.deliver(ONE, "double")
    world.deliver(TWO, "double")
    report = world.session()
    assert report.retrieved == 2
    world.assert_all_is_published()
    assert not world.server.messages


def test_messages_without_unique_ids_are_stored_and_deleted() -> None:
    world = World()
    world.deliver(ONE, None)
    world.deliver(TWO, None)
    assert world.session().deleted == 2
    world.assert_all_is_published()


def test_a_refused_delete_settles_nothing_and_is_counted() -> None:
    world = World()
    world.deliver(ONE)
    world.server.refuse_delete = True
    report = world.session()
    assert (report.deleted, report.refused) == (0, 1)
    entries = world.state.kept.entries[world.mailbox.id]
    assert not any(entry.deleted for entry in entries.values())


def test_a_lost_answer_to_quit_settles_nothing_and_the_next_session_finds_out() -> None:
    world = World()
    world.deliver(ONE)
    world.server.lose_quit_answer = True
    with pytest.raises(ConnectionFailed):
        world.session()
    entries = world.state.kept.entries[world.mailbox.id]
    assert not any(entry.deleted for entry in entries.values())
    world.server.lose_quit_answer = False
    world.session()
    world.assert_all_is_published()


# Messages that are cut


def test_a_body_cut_in_the_middle_is_neither_stored_nor_deleted() -> None:
    world = World()
    world.deliver(LONG)
    world.server.cut_body[1] = 10_000
    with pytest.raises(ConnectionFailed):
        world.session()
    assert not world.records()
    assert len(world.server.messages) == 1
    assert not world.store.uploads


def test_a_message_far_shorter_than_listed_is_stored_and_nothing_is_deleted() -> None:
    world = World()
    world.deliver(ONE)
    world.deliver(TWO)
    world.server.messages[0].listed_octets = 50_000
    with pytest.raises(RemoteProtocolError, match="message 1 came with far fewer"):
        world.session()
    assert len(world.server.messages) == 2
    assert "shorter-than-listed" in [
        defect.name for record in world.records() for defect in record.defects
    ]


def test_a_message_that_was_cut_is_not_taken_for_the_whole_one_after_a_read_back() -> None:
    world = World()
    world.deliver(LONG)
    [stored] = world.server.messages
    stored.octets, stored.listed_octets = LONG[:10_000], len(LONG)
    with pytest.raises(RemoteProtocolError):
        world.session()
    stored.octets = LONG
    world.state.lose_everything()
    world.state.kept.epoch = True
    [cut] = world.records()
    world.ledger.restore(cut.batch, [cut])
    world.session()
    world.assert_nothing_is_lost()
    assert sha256(LONG) in world.rebuilt()


def test_a_message_that_stays_shorter_than_listed_does_not_hold_up_the_others() -> None:
    world = World()
    world.deliver(ONE)
    world.server.messages[0].listed_octets = 50_000
    with pytest.raises(RemoteProtocolError):
        world.poll()
    world.deliver(TWO)
    assert world.poll().deleted == 1
    for _ in range(20):
        world.poll()
    assert [one.octets for one in world.server.messages] == [ONE]
    world.assert_nothing_is_lost()
    assert [record.sha256 for record in world.records()].count(sha256(ONE)) == 1
    # Retrieved in vain, but ever more rarely.
    assert world.steps.count("retrieve") < 10


def test_what_came_whole_before_the_connection_broke_is_kept() -> None:
    world = World(batch_messages=10)
    for octets in (ONE, TWO, LONG):
        world.deliver(octets)
    world.server.messages[2].breaks = True
    with pytest.raises(ConnectionFailed):
        world.session()
    assert world.rebuilt() == {sha256(ONE), sha256(TWO)}
    assert not world.server.deleted()
    world.server.messages[2].breaks = False
    assert world.poll().suspects == 1
    assert world.poll().retrieved == 1
    world.assert_all_is_published()
    assert not world.server.messages


def test_a_message_on_which_the_server_always_breaks_does_not_hold_up_the_others() -> None:
    world = World()
    for octets in (ONE, LONG, TWO):
        world.deliver(octets)
    world.server.messages[1].breaks = True
    with pytest.raises(ConnectionFailed):
        world.poll()
    assert world.poll().deleted == 2
    assert world.rebuilt() == {sha256(ONE), sha256(TWO)}
    skipped = 0
    for _ in range(4 * MOST_ATTEMPTS):
        with suppress(ConnectionFailed):
            skipped += world.poll().skipped
    assert skipped
    assert [stored.octets for stored in world.server.messages] == [LONG]
    world.server.messages[0].breaks = False
    for _ in range(20):
        world.poll()
    assert world.rebuilt() == {sha256(ONE), sha256(TWO), sha256(LONG)}
    assert not world.server.messages


def test_an_outage_that_strikes_during_a_message_convicts_no_other() -> None:
    world = World()
    for octets in (ONE, LONG, TWO):
        world.deliver(octets)
    world.server.cut_body[2] = 1
    with pytest.raises(ConnectionFailed):
        world.session()
    kept = world.state.kept.attempts[world.mailbox.id]
    assert {name for name, count in kept.items() if count} == {world.server.messages[1].unique_id}


def test_a_message_that_never_ends_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "_LONGER_OCTETS", 1000)
    world = World()
    world.deliver(LONG)
    world.server.messages[0].listed_octets = 100
    with pytest.raises(RemoteProtocolError, match="LIST announced 100"):
        world.session()
    assert not world.store.objects
    assert len(world.server.messages) == 1


def test_a_message_that_the_server_refuses_to_send_is_not_convicted() -> None:
    world = World()
    world.deliver(LONG)
    world.server.refuse_retrieve = {1}
    for _ in range(MOST_ATTEMPTS + 1):
        assert world.session().refused == 1
    world.server.refuse_retrieve = set()
    world.session()
    [record] = world.records()
    assert not record.defects


def test_a_message_whose_program_would_not_rebuild_it_is_stored_unparsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Splitter.close
    monkeypatch.setattr(Splitter, "close", lambda splitter: whole(splitter)[1:])
    world = World()
    world.deliver(ONE + b"--")  # what may become a delimiter is held back to the end
    world.deliver(TWO)
    world.session()
    unparsed, parsed = world.records()
    world.assert_all_is_published()
    assert not world.server.messages
    assert NOT_PARSED in [defect.name for defect in (*unparsed.defects, *parsed.defects)]


def test_a_refused_retr_is_counted_and_the_rest_goes_on() -> None:
    world = World()
    world.deliver(ONE)
    world.deliver(TWO)
    world.server.refuse_retrieve.add(1)
    report = world.session()
    assert (report.refused, report.deleted) == (1, 1)
    assert [one.octets for one in world.server.messages] == [ONE]


# Delete rules


def test_never_leaves_everything_and_stores_it_once() -> None:
    world = World(delete="never")
    world.deliver(ONE)
    world.deliver(TWO)
    assert world.session().kept == 2
    report = world.session()
    assert (report.retrieved, report.kept, report.deleted) == (0, 2, 0)
    assert len(world.records()) == 2
    world.assert_nothing_is_seen_twice()


def test_never_with_double_unique_ids_retrieves_again_but_stores_once() -> None:
    world = World(delete="never")
    world.deliver(ONE, "double")
    world.deliver(TWO, "double")
    world.session()
    assert world.session().retrieved == 2
    assert len(world.records()) == 2


def test_never_remembers_messages_whose_unique_ids_were_renumbered() -> None:
    world = World(delete="never")
    world.deliver(ONE, "old")
    world.session()
    world.server.messages[0].unique_id = "new"
    assert world.session().events == 0
    assert world.session().retrieved == 0


def test_after_a_week_deletes_a_week_after_the_commit() -> None:
    world = World(delete="after 7d")
    world.deliver(ONE)
    world.session()
    world.state.clock += 7 * 86400 - 1
    assert world.session().deleted == 0
    world.state.clock += 1
    assert world.session().deleted == 1
    assert not world.server.messages


def test_published_deletes_what_every_sink_has_accepted() -> None:
    world = World(delete="published")
    world.deliver(ONE)
    world.state.kept.waits_since = world.state.clock
    assert world.session().deleted == 0
    world.state.clock += 60
    assert world.session().deleted == 0
    world.state.kept.waits_since = None
    report = world.session()
    assert (report.retrieved, report.deleted) == (0, 1)
    assert not world.server.messages


def test_published_holds_for_messages_without_unique_ids_too() -> None:
    world = World(delete="published")
    world.deliver(ONE, None)
    world.state.kept.waits_since = world.state.clock
    assert world.session().deleted == 0
    world.state.clock += 60
    world.state.kept.waits_since = None
    assert world.session().deleted == 1
    assert len({event.id for record in world.records() for event in record.events}) == 1


def test_a_rehearsal_deletes_nothing_and_its_events_say_so() -> None:
    world = World(delete="shadow")
    world.deliver(ONE)
    assert world.session().events == 1
    assert world.session().retrieved == 0
    assert [one.event.type for one in world.state.kept.outbox] == [REHEARSED]
    assert len(world.server.messages) == 1


def test_after_a_rehearsal_every_message_is_ingested_as_if_it_were_new() -> None:
    world = World(delete="shadow")
    world.deliver(ONE)
    world.deliver(TWO, None)
    world.session()
    world.delete = "committed"
    report = world.session()
    assert (report.events, report.deleted) == (2, 2)
    types = [one.event.type for one in world.state.kept.outbox]
    assert types == [REHEARSED, REHEARSED, INGESTED, INGESTED]
    assert len({one.event.id for one in world.state.kept.outbox}) == 4


def probe_for(mailbox_id: str, keyring: Keyring) -> bytes:
    submission = Submission(host="h", port=25, sender="a@b.example", recipient="c@d.example")
    return compose(new_probe(1_800_000_000.5), mailbox_id, submission, keyring)


@pytest.mark.parametrize("delete", ["committed", "shadow"])
def test_a_canarys_own_probes_are_no_mail_and_everybody_elses_are(delete: str) -> None:
    ours, theirs = Keyring([new_key()]), Keyring([new_key()])
    world = World(delete=delete)
    world.recognise = Recognition(world.mailbox.id, ours)
    world.deliver(probe_for(world.mailbox.id, ours))
    world.deliver(probe_for(world.mailbox.id, theirs))
    world.deliver(probe_for("mb-other", ours))
    world.deliver(ONE)
    world.session()
    mail = REHEARSED if delete == "shadow" else INGESTED
    assert [one.event.type for one in world.state.kept.outbox] == [PROBED, mail, mail, mail]
    assert len(world.server.messages) == (4 if delete == "shadow" else 0)


def test_a_mailbox_that_is_no_canary_knows_no_probes() -> None:
    keyring = Keyring([new_key()])
    world = World()
    world.deliver(probe_for(world.mailbox.id, keyring))
    world.session()
    assert [one.event.type for one in world.state.kept.outbox] == [INGESTED]


def test_under_the_brake_mail_is_ingested_and_nothing_is_deleted() -> None:
    world = World()
    world.deliver(ONE)
    world.brake.pulled = "somebody looks into it"
    report = world.session()
    assert (report.committed, report.deleted, report.kept) == (1, 0, 1)
    assert report.braked == "somebody looks into it"
    world.brake.pulled = ""
    assert world.session().deleted == 1


def test_a_brake_that_is_pulled_before_quit_ends_the_session_without_it() -> None:
    world = World()
    world.deliver(ONE)
    world.brake.pulled_late = "too many deletes"
    with pytest.raises(DeletesBraked, match="too many deletes"):
        world.session()
    assert not world.server.deleted()
    assert ("dropped", "") in world.server.journal
    world.brake.pulled_late = ""
    world.session()
    world.assert_all_is_published()
    assert not world.server.messages


# Limits


def test_a_large_maildrop_is_drained_over_several_sessions() -> None:
    world = World(session_messages=2)
    for number in range(5):
        world.deliver(b"Subject: %d\r\n\r\n\r\n" % number)
    assert [world.session().left for _ in range(3)] == [3, 1, 0]
    world.assert_all_is_published()
    assert not world.server.messages
    assert not any(world.state.kept.attempts.get(world.mailbox.id, {}).values())


def test_a_closing_process_finishes_what_it_has_and_starts_nothing_more() -> None:
    world = World()
    world.deliver(ONE)
    world.deliver(TWO)

    def close(step: str) -> None:
        world.stop.closing |= step == "octets"

    world.on_step = close
    report = world.session()
    assert (report.deleted, report.left) == (1, 1)
    world.assert_nothing_is_lost()


def test_a_process_whose_grace_is_over_drops_the_session() -> None:
    world = World()
    world.deliver(ONE)
    world.stop.error = SessionStopped("enough")
    with pytest.raises(SessionStopped):
        world.session()
    assert len(world.server.messages) == 1
    assert not any(world.state.kept.attempts.get(world.mailbox.id, {}).values())


# Poison


def test_a_message_that_breaks_the_parser_is_stored_unparsed_in_the_same_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def breaks(_: object, octets: memoryview) -> list[object]:
        raise ZeroDivisionError if b"one" in bytes(octets) else RecursionError

    monkeypatch.setattr(splitter.Splitter, "feed", breaks)
    world = World()
    world.deliver(ONE)
    world.deliver(TWO)
    assert world.session().deleted == 2
    world.assert_all_is_published()
    assert {defect.name for record in world.records() for defect in record.defects} == {
        "not-parsed"
    }


def test_what_breaks_the_parser_is_logged_without_what_the_message_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def breaks(_: object, octets: memoryview) -> list[object]:
        raise ValueError(bytes(octets).decode())

    monkeypatch.setattr(splitter.Splitter, "feed", breaks)
    world = World()
    world.deliver(ONE)
    with capture_logs() as lines:
        world.session()
    [line] = [line for line in lines if line["event"] == "message_unparsable"]
    assert line["error"] == "ValueError"
    assert "test_session.py" in line["frames"][-1]
    assert "first" not in str(lines)


def test_no_session_ends_with_quit_that_retrieved_a_message_and_stored_it_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def breaks(_: object, __: memoryview) -> list[object]:
        raise ZeroDivisionError

    monkeypatch.setattr(splitter.Splitter, "feed", breaks)
    world = World()
    world.deliver(ONE)
    world.server.refuse_again = True
    for isolated in (False, True, True):
        with pytest.raises(CommandRefused, match="a second time"):
            world.session(isolated=isolated)
        assert world.server.journal[-1] == ("dropped", "")
    assert world.session(isolated=True).deleted == 1
    world.assert_all_is_published()


def test_several_messages_that_stay_cut_are_all_told_apart_at_once() -> None:
    world = World()
    for octets in (ONE, TWO):
        world.deliver(octets)
        world.server.messages[-1].listed_octets = 50_000
    # Both are under way before the first one is seen to be cut.
    world.server.window = 2
    with pytest.raises(RemoteProtocolError):
        world.poll()
    assert world.poll().suspects == 2
    assert world.poll().deleted == 0
    world.assert_nothing_is_lost()


def test_a_message_that_killed_three_workers_is_stored_unparsed() -> None:
    world = World()
    world.deliver(ONE)
    tried(world, ONE, 3)
    assert world.poll().suspects == 1
    report = world.poll()
    assert (report.quarantined, report.deleted) == (1, 1)
    (record,) = world.records()
    assert [defect.name for defect in record.defects] == ["not-parsed"]
    world.assert_all_is_published()


def test_what_a_dead_worker_had_under_way_is_tried_apart_and_together() -> None:
    world = World()
    for octets in (ONE, TWO, LONG):
        world.deliver(octets)
    tried(world, ONE, 1)
    tried(world, TWO, 1)
    report = world.session()
    assert (report.retrieved, report.suspects) == (1, 2)
    report = world.session(isolated=True)
    assert (report.retrieved, report.suspects, report.deleted) == (2, 0, 2)
    world.assert_all_is_published()
    assert not any(record.defects for record in world.records())


def test_after_a_second_death_suspects_are_tried_one_by_one() -> None:
    world = World()
    for octets in (ONE, TWO, LONG):
        world.deliver(octets)
        tried(world, octets, 2)
    tried(world, ONE, 1)
    assert world.session().retrieved == 0
    for left in (2, 1, 0):
        report = world.session(isolated=True)
        assert (report.retrieved, report.suspects) == (1, left)
    kinds = {record.sha256: len(record.defects) for record in world.records()}
    assert kinds == {sha256(ONE): 1, sha256(TWO): 0, sha256(LONG): 0}


def tried(world: World, octets: bytes, times: int) -> None:
    """A worker died so often with this message under way."""
    [uid] = [one.unique_id for one in world.server.messages if one.octets == octets]
    lease = world.state.lease(world.mailbox)
    for _ in range(times):
        world.ledger.count_attempts(lease, [uid or ""])


def test_records_with_long_names_fill_a_batch_as_octets_do() -> None:
    part = b"--B\r\nContent-Type: a/b; name=%s\r\n\r\nx\r\n" % (b"n" * 1900)
    head = b"Content-Type: multipart/mixed; boundary=B\r\n\r\n"
    world = World(batch_messages=1000, batch_octets=1_000_000)
    for number in range(6):
        world.deliver(b"Subject: %d\r\n" % number + head + part * 50 + b"--B--\r\n")
    world.session()
    assert len(world.store.commits()) == 3
    world.assert_all_is_published()


def test_a_message_that_turns_out_to_be_stored_leaves_no_second_copy_of_its_parts() -> None:
    world = World(delete="never", batch_messages=10)
    world.deliver(b"Content-Type: application/x\r\n\r\n" + b"y" * 20_000, None)
    world.session()
    before = set(world.store.objects)
    world.deliver(ONE)  # another that is new, so that the batch is committed
    assert world.session().committed == 1
    added = set(world.store.objects) - before
    assert [key.rpartition("/")[2] for key in added] == ["commit.zip"]


def test_a_batch_that_a_suspended_machine_woke_up_with_is_not_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    world.deliver(ONE)
    awake = time.time()
    times = iter([awake, *[awake + 7 * 3600] * 10])
    monkeypatch.setattr("ingest.intake.batch.time.time", lambda: next(times))
    with pytest.raises(StoreUnavailable, match="6 hours"):
        world.session()
    assert not world.store.commits()
    assert not world.server.deleted()


def test_records_with_long_lists_fill_a_batch_as_octets_do() -> None:
    many = b"--B\r\n\r\nx\r\n" * 900
    head = b"Content-Type: multipart/mixed; boundary=B\r\n\r\n"
    world = World(batch_messages=1000, batch_octets=1_000_000)
    for number in range(6):
        world.deliver(b"Subject: %d\r\n" % number + head + many + b"--B--\r\n")
    world.session()
    assert len(world.store.commits()) > 1
    world.assert_all_is_published()
