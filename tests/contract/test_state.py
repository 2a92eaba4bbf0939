"""Schedule and ledger: one suite for Redis and for its fake in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
import pytest
from redis import Redis

from ingest.errors import LeaseLost, StateUnavailable
from ingest.intake import ports
from ingest.model import SHORTER_THAN_LISTED, Defect, Lease
from ingest.state.commands import Commands
from ingest.state.ledger import RedisLedger
from ingest.state.schedule import Schedule
from tests.fakes.mail_values import BATCH, commitment, mailbox, record
from tests.fakes.memory_state import MemoryLedger, MemorySchedule, MemoryState
from tests.servers.valkey import make_whole, valkey_client

GROUP = mailbox().group
DAY = 86400


class MemoryWorld:
    def __init__(self) -> None:
        self.state = MemoryState()
        self.schedule = MemorySchedule(self.state)
        self.ledger = MemoryLedger(self.state)

    def pass_seconds(self, seconds: float) -> None:
        self.state.clock += seconds

    def age(self, seconds: float) -> None:
        self.state.clock += seconds
        for leases in self.state.kept.leases.values():  # renewed meanwhile
            leases |= {box: (expiry + seconds, held) for box, (expiry, held) in leases.items()}

    def sleep_on(self, lease: Lease, seconds: float) -> None:
        self.state.clock = self.state.kept.leases[lease.group][lease.mailbox][0] + seconds

    def lose_epoch(self) -> None:
        self.state.kept.epoch = False

    def outbox(self) -> list[tuple[str, str, str, str]]:
        return [
            (one.event.id, one.event.type, one.mailbox, one.event.json)
            for one in self.state.kept.outbox
        ]


class RedisWorld:
    def __init__(self, client: Redis) -> None:
        self.client = client
        self.run = Commands(client).run
        client.flushall()
        make_whole(client)
        self.schedule = Schedule(client)
        self.ledger = RedisLedger(client)

    def pass_seconds(self, seconds: float) -> None:
        time.sleep(seconds)

    def age(self, seconds: float) -> None:
        """Date everything back: nobody waits for days."""
        for name in ("gone", "records"):
            for key in self.run("KEYS", f"mail-ingest:{name}:*"):
                for member in self.run("ZRANGE", key, 0, -1):
                    self.run("ZINCRBY", key, -seconds, member)
        for key in self.run("KEYS", "mail-ingest:compared:*"):
            self.run("DEL", key)

    def sleep_on(self, lease: Lease, seconds: float) -> None:
        """As if the lease had expired so long ago."""
        expiry = Commands(self.client).now() - seconds
        self.run("ZADD", f"mail-ingest:leases:{lease.group}", expiry, lease.mailbox)

    def lose_epoch(self) -> None:
        self.client.delete("mail-ingest:epoch")

    def outbox(self) -> list[tuple[str, str, str, str]]:
        return [
            (
                fields[b"id"].decode(),
                fields[b"type"].decode(),
                fields[b"mailbox"].decode(),
                fields[b"json"].decode(),
            )
            for _, fields in self.run("XRANGE", "mail-ingest:outbox", "-", "+")
        ]


World = MemoryWorld | RedisWorld


@pytest.fixture(scope="module")
def client() -> Iterator[Redis]:
    with valkey_client() as client:
        yield client


@pytest.fixture(params=["memory", "valkey"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "memory":
        return MemoryWorld()
    return RedisWorld(request.getfixturevalue("client"))


@pytest.fixture
def lease(world: World) -> Lease:
    lease = world.schedule.claim_mailbox(mailbox(), 60)
    assert lease is not None
    return lease


def ports_of(world: World) -> tuple[ports.Schedule, ports.Ledger]:
    """The intake sees these only; the type checker sees that they fit."""
    return world.schedule, world.ledger


# The schedule


def test_a_claimed_message_goes_its_way_through_the_ports_alone(world: World) -> None:
    world.schedule.schedule(mailbox(), -1)
    schedule, ledger = ports_of(world)
    lease = schedule.claim(GROUP, 1, 60)
    assert lease
    ledger.count_attempts(lease, ["u1"])
    assert ledger.commit(lease, [commitment("one")]) == 1
    ledger.settle(lease, ["u1"])
    ledger.forget(lease, ["u1"])
    assert ledger.known(lease.mailbox, ["u1"])["u1"].deleted
    assert schedule.release(lease, 60)


def test_a_mailbox_that_is_not_due_yet_is_not_claimed(world: World) -> None:
    world.schedule.schedule(mailbox(), 60)
    assert world.schedule.claim(GROUP, 10, 60) is None
    assert not world.schedule.groups_due()


def test_the_earliest_due_mailbox_is_claimed_first(world: World) -> None:
    world.schedule.schedule(mailbox("late"), -1)
    world.schedule.schedule(mailbox("later"), -0.5)
    world.schedule.schedule(mailbox("latest"), -9)
    assert world.schedule.groups_due() == {GROUP: 3}
    claimed = [world.schedule.claim(GROUP, 10, 60) for _ in range(4)]
    assert [lease and lease.mailbox for lease in claimed] == [
        "mb-latest",
        "mb-late",
        "mb-later",
        None,
    ]


def test_a_leased_mailbox_is_claimed_by_nobody_else(world: World) -> None:
    world.schedule.schedule(mailbox(), -1)
    assert world.schedule.claim(GROUP, 10, 60)
    assert world.schedule.claim(GROUP, 10, 60) is None
    assert world.schedule.claim_mailbox(mailbox(), 60) is None
    assert world.schedule.leased_until(mailbox())


def test_a_group_gets_no_more_leases_than_it_has_slots(world: World) -> None:
    for name in "abc":
        world.schedule.schedule(mailbox(name), -1)
    first = world.schedule.claim(GROUP, 2, 60)
    assert first
    assert world.schedule.claim(GROUP, 2, 60)
    assert world.schedule.claim(GROUP, 2, 60) is None
    world.schedule.release(first, 60)
    assert world.schedule.claim(GROUP, 2, 60)


def test_groups_do_not_take_each_others_slots(world: World) -> None:
    other = mailbox("b", tenant="other")
    world.schedule.schedule(mailbox(), -1)
    world.schedule.schedule(other, -1)
    assert world.schedule.groups_due() == {GROUP: 1, other.group: 1}
    assert world.schedule.claim(GROUP, 1, 60)
    assert world.schedule.claim(other.group, 1, 60)


def test_an_expired_lease_makes_its_mailbox_due_and_its_slot_free(world: World) -> None:
    world.schedule.schedule(mailbox(), -1)
    dead = world.schedule.claim(GROUP, 1, 0.02)
    assert dead
    world.pass_seconds(0.05)
    assert world.schedule.groups_due() == {GROUP: 1}
    heir = world.schedule.claim(GROUP, 1, 60)
    assert heir
    assert heir.mailbox == dead.mailbox
    assert heir.id != dead.id
    assert world.schedule.release(dead, 60) is False
    assert world.schedule.renew([heir], 60) == set()


def test_an_expired_lease_is_over_though_no_slot_was_free_for_another(world: World) -> None:
    world.schedule.schedule(mailbox(), -1)
    late = world.schedule.claim(GROUP, 1, 0.02)
    assert late
    world.pass_seconds(0.05)
    assert world.schedule.claim(GROUP, 0, 60) is None
    with pytest.raises(LeaseLost):
        world.ledger.commit(late, [commitment("one")])
    assert world.schedule.renew([late], 60) == {late}
    assert world.schedule.release(late, 60) is False


def test_a_worker_that_slept_for_hours_commits_nothing_though_nobody_took_its_lease(
    world: World, lease: Lease
) -> None:
    world.sleep_on(lease, 3500)
    world.ledger.commit(lease, [commitment("one")])
    assert not world.schedule.renew([lease], 60)
    world.sleep_on(lease, 3700)
    with pytest.raises(LeaseLost):
        world.ledger.commit(lease, [commitment("two", "u2")])
    assert world.schedule.renew([lease], 60) == {lease}
    assert len(world.outbox()) == 1


def test_a_mailbox_claimed_by_name_is_not_claimed_when_it_is_due(world: World) -> None:
    world.schedule.schedule(mailbox(), -1)
    assert world.schedule.claim_mailbox(mailbox(), 60)
    assert world.schedule.claim(GROUP, 10, 60) is None


def test_a_group_is_found_as_soon_as_its_mailbox_is_released(world: World) -> None:
    world.schedule.schedule(mailbox(), -1)
    lease = world.schedule.claim(GROUP, 1, 60)
    assert lease
    assert not world.schedule.groups_due()
    world.schedule.release(lease, -1)
    assert world.schedule.groups_due() == {GROUP: 1}


def test_renewing_keeps_a_lease_and_names_those_that_are_lost(world: World) -> None:
    world.schedule.schedule(mailbox("a"), -2)
    world.schedule.schedule(mailbox("b", tenant="other"), -1)
    first = world.schedule.claim(GROUP, 1, 0.02)
    second = world.schedule.claim(mailbox("b", tenant="other").group, 1, 60)
    assert first
    assert second
    forged = second._replace(id="forged")
    assert world.schedule.renew([first, second, forged], 60) == {forged}
    world.pass_seconds(0.05)
    assert not world.schedule.groups_due()
    assert world.schedule.claim(GROUP, 1, 60) is None
    assert world.schedule.renew([], 60) == set()


def test_a_released_mailbox_is_due_again_when_it_was_told(world: World) -> None:
    world.schedule.schedule(mailbox(), -1)
    lease = world.schedule.claim(GROUP, 1, 60)
    assert lease
    assert world.schedule.release(lease, -1) is True
    again = world.schedule.claim(GROUP, 1, 60)
    assert again
    assert world.schedule.release(again, None) is True
    assert world.schedule.depth().scheduled == 0


def test_what_release_keeps_of_a_mailbox_is_found_again(world: World, lease: Lease) -> None:
    assert world.schedule.standing(lease.mailbox) == b""
    assert world.schedule.release(lease._replace(id="forged"), 0, b"forged") is False
    assert world.schedule.release(lease, 0, b"\xff\x00") is True
    again = world.schedule.claim_mailbox(mailbox(), 60)
    assert again
    assert world.schedule.release(again, 0) is True
    assert world.schedule.standing(lease.mailbox) == b"\xff\x00"


def test_scheduling_a_leased_mailbox_does_not_let_a_second_worker_in(
    world: World, lease: Lease
) -> None:
    world.schedule.schedule(mailbox(), -1)
    assert world.schedule.schedule_new([mailbox()], 0) == 0
    assert world.schedule.claim(lease.group, 10, 60) is None


def test_unscheduling_ends_the_lease_so_that_the_session_stops(world: World, lease: Lease) -> None:
    world.schedule.unschedule(lease.mailbox, lease.group)
    with pytest.raises(LeaseLost):
        world.ledger.commit(lease, [commitment("one")])
    assert world.schedule.release(lease, -1) is False
    assert world.schedule.claim(lease.group, 10, 60) is None


def test_new_mailboxes_are_spread_and_known_ones_keep_their_due_time(world: World) -> None:
    world.schedule.schedule(mailbox("0"), -1)
    assert world.schedule.schedule_new([mailbox(str(n)) for n in range(20)], 1000) == 19
    assert world.schedule.depth()[:3] == (20, 1, 0)
    lease = world.schedule.claim(GROUP, 1, 60)
    assert lease
    assert lease.mailbox == "mb-0"


def test_the_depth_tells_how_late_the_longest_waiting_mailbox_is(world: World) -> None:
    assert world.schedule.depth() == (0, 0, 0, 0)
    world.schedule.schedule(mailbox("a"), -100)
    world.schedule.schedule(mailbox("b"), -50)
    world.schedule.claim_mailbox(mailbox("c"), 60)
    depth = world.schedule.depth()
    assert depth[:3] == (2, 2, 1)
    assert 100 <= depth.lag_seconds < 200


def test_nothing_is_claimed_before_a_lost_index_is_read_back(world: World) -> None:
    world.schedule.schedule(mailbox(), -1)
    world.lose_epoch()
    assert not world.schedule.groups_due()
    assert world.schedule.claim(GROUP, 1, 60) is None
    with pytest.raises(StateUnavailable):
        world.schedule.claim_mailbox(mailbox(), 60)


# The ledger


def test_a_committed_message_is_known_by_its_unique_id_and_its_record(
    world: World, lease: Lease
) -> None:
    one = commitment("one")
    assert world.ledger.commit(lease, [one]) == 1
    entry = world.ledger.known(lease.mailbox, ["u0", "u1"])["u1"]
    assert entry.record_id == one.record.id
    assert entry.listed_octets == one.record.listed_octets
    assert entry.header_sha256 == one.record.header_sha256
    assert entry.deleted is False
    assert abs(entry.committed_at - world.ledger.horizon("x").now) < 60
    assert world.ledger.committed(lease.mailbox, ["00" * 16, one.record.id]) == {
        one.record.id: entry.committed_at
    }


def test_an_entry_keeps_that_it_was_a_rehearsal_until_the_real_one_comes(
    world: World, lease: Lease
) -> None:
    rehearsed = commitment("octets")
    rehearsed = rehearsed._replace(record=msgspec.structs.replace(rehearsed.record, rehearsal=True))
    world.ledger.commit(lease, [rehearsed])
    assert world.ledger.known(lease.mailbox, ["u1"])["u1"].rehearsal
    world.ledger.settle(lease, ["u1"])
    assert world.ledger.known(lease.mailbox, ["u1"])["u1"].rehearsal
    world.ledger.commit(lease, [commitment("octets")])
    assert not world.ledger.known(lease.mailbox, ["u1"])["u1"].rehearsal


def test_a_message_without_header_hash_keeps_that_it_has_none(world: World, lease: Lease) -> None:
    changed = msgspec.structs.replace(record("one"), header_sha256="")
    world.ledger.commit(lease, [commitment("one")._replace(record=changed)])
    assert world.ledger.known(lease.mailbox, ["u1"])["u1"].header_sha256 == ""


def test_the_events_of_a_batch_stand_in_the_outbox_as_they_are_stored(
    world: World, lease: Lease
) -> None:
    batch = [commitment("one", "u1"), commitment("two", "u2")]
    assert world.ledger.commit(lease, batch) == 2
    assert world.outbox() == [
        (event.id, event.type, lease.mailbox, event.json)
        for one in batch
        for event in one.record.events
    ]


def test_a_record_is_published_once_whatever_its_unique_id_becomes(
    world: World, lease: Lease
) -> None:
    assert world.ledger.commit(lease, [commitment("one", "u1"), commitment("one", "u2")]) == 1
    world.age(DAY)
    assert world.ledger.commit(lease, [commitment("one", "renumbered"), commitment("two")]) == 1
    found = world.ledger.known(lease.mailbox, ["renumbered", "u1"])
    first = world.ledger.committed(lease.mailbox, [found["renumbered"].record_id])
    assert list(first.values()) == [found["renumbered"].committed_at]
    assert found["u1"].record_id != found["renumbered"].record_id
    assert len(world.outbox()) == 2


def test_a_message_without_unique_id_is_remembered_by_its_record_alone(
    world: World, lease: Lease
) -> None:
    one = commitment("one", None)
    assert world.ledger.commit(lease, [one]) == 1
    assert world.ledger.commit(lease, [one]) == 0
    assert world.ledger.known(lease.mailbox, [""]) == {}


def test_a_batch_of_thousands_is_taken_in_at_once(world: World, lease: Lease) -> None:
    batch = [commitment(f"message {n}", f"u{n}") for n in range(5000)]
    unique_ids = [one.unique_id for one in batch if one.unique_id]
    world.ledger.count_attempts(lease, unique_ids)
    assert world.ledger.commit(lease, batch) == 5000
    assert len(world.ledger.known(lease.mailbox, unique_ids)) == 5000
    assert set(world.ledger.count_attempts(lease, unique_ids).values()) == {1}
    world.ledger.settle(lease, unique_ids)
    assert all(entry.deleted for entry in world.ledger.known(lease.mailbox, unique_ids).values())


def test_no_commitments_change_nothing(world: World, lease: Lease) -> None:
    assert world.ledger.commit(lease, []) == 0
    assert world.outbox() == []


def test_nothing_is_written_under_a_lease_that_somebody_else_holds(
    world: World, lease: Lease
) -> None:
    world.ledger.commit(lease, [commitment("one")])
    other = lease._replace(id="other")
    with pytest.raises(LeaseLost):
        world.ledger.commit(other, [commitment("two", "u2")])
    with pytest.raises(LeaseLost):
        world.ledger.settle(other, ["u1"])
    with pytest.raises(LeaseLost):
        world.ledger.count_attempts(other, ["u1"])
    with pytest.raises(LeaseLost):
        world.ledger.take_back(other, ["u1"])
    with pytest.raises(LeaseLost):
        world.ledger.forget(other, ["u1"])
    assert list(world.ledger.known(lease.mailbox, ["u1", "u2"])) == ["u1"]
    assert not world.ledger.known(lease.mailbox, ["u1"])["u1"].deleted
    assert len(world.outbox()) == 1
    assert world.ledger.count_attempts(lease, ["u1"]) == {"u1": 1}


def test_attempts_are_counted_taken_back_and_cleared_by_the_commit(
    world: World, lease: Lease
) -> None:
    assert world.ledger.count_attempts(lease, ["u1", "u2"]) == {"u1": 1, "u2": 1}
    assert world.ledger.count_attempts(lease, ["u1"]) == {"u1": 2}
    world.ledger.take_back(lease, ["u1", "u2", "u3"])
    assert world.ledger.count_attempts(lease, ["u1", "u2", "u3"]) == {"u1": 2, "u2": 1, "u3": 1}
    assert world.ledger.attempts(lease.mailbox, ["u1", "u2", "u9"]) == {"u1": 2, "u2": 1}
    world.ledger.commit(lease, [commitment("one", "u1")])
    assert world.ledger.count_attempts(lease, ["u1", "u2"]) == {"u1": 1, "u2": 2}


def test_settled_messages_are_deleted_until_their_unique_id_has_other_octets(
    world: World, lease: Lease
) -> None:
    world.ledger.commit(lease, [commitment("one", "u1"), commitment("two", "u2")])
    world.ledger.settle(lease, ["u1", "unknown"])
    world.ledger.settle(lease, ["u1"])
    found = world.ledger.known(lease.mailbox, ["u1", "u2", "unknown"])
    assert {name: entry.deleted for name, entry in found.items()} == {"u1": True, "u2": False}
    assert world.ledger.commit(lease, [commitment("other octets", "u1")]) == 1
    assert not world.ledger.known(lease.mailbox, ["u1"])["u1"].deleted


def test_an_entry_is_forgotten_a_week_after_its_message_left_the_listing(
    world: World, lease: Lease
) -> None:
    world.ledger.commit(lease, [commitment("one", "u1"), commitment("two", "u2")])
    world.ledger.settle(lease, ["u1", "u2"])
    world.ledger.forget(lease, ["u2"])
    world.age(6 * DAY)
    world.ledger.forget(lease, ["u2"])
    assert len(world.ledger.known(lease.mailbox, ["u1", "u2"])) == 2
    world.age(2 * DAY)
    world.ledger.forget(lease, ["u2"])
    assert list(world.ledger.known(lease.mailbox, ["u1", "u2"])) == ["u2"]


def test_an_entry_whose_message_is_listed_again_stays(world: World, lease: Lease) -> None:
    world.ledger.commit(lease, [commitment("one", "u1")])
    world.ledger.forget(lease, [])
    world.age(8 * DAY)
    world.ledger.forget(lease, ["u1"])
    world.age(6 * DAY)
    world.ledger.forget(lease, [])
    assert world.ledger.known(lease.mailbox, ["u1"])


def test_a_listing_is_compared_every_few_hours_only(world: World, lease: Lease) -> None:
    world.ledger.count_attempts(lease, ["u1"])
    world.ledger.forget(lease, ["u1"])
    world.ledger.forget(lease, [])
    assert world.ledger.count_attempts(lease, ["u1"]) == {"u1": 2}
    world.age(DAY)
    world.ledger.forget(lease, [])
    assert world.ledger.count_attempts(lease, ["u1"]) == {"u1": 1}


def test_a_record_is_forgotten_after_a_month_but_never_while_an_entry_has_it(
    world: World, lease: Lease
) -> None:
    listed, gone = commitment("one", "u1"), commitment("two", None)
    world.ledger.commit(lease, [listed, gone])
    world.age(29 * DAY)
    world.ledger.forget(lease, ["u1"])
    both = [listed.record.id, gone.record.id]
    assert len(world.ledger.committed(lease.mailbox, both)) == 2
    world.age(2 * DAY)
    world.ledger.forget(lease, ["u1"])
    assert list(world.ledger.committed(lease.mailbox, both)) == [listed.record.id]


def test_reading_back_restores_entries_records_and_events_once(world: World) -> None:
    one, two = record("one", unique_id="u1"), record("two", unique_id=None)
    assert world.ledger.restore(BATCH, [one, two]) == 2
    assert world.ledger.restore(BATCH, [one, two]) == 0
    entry = world.ledger.known("mb-a", ["u1"])["u1"]
    assert entry.record_id == one.id
    assert entry.committed_at == one.retrieved_at.timestamp()
    assert [event[0] for event in world.outbox()] == [one.events[0].id, two.events[0].id]


def test_a_message_that_may_have_been_cut_is_read_back_but_known_by_no_unique_id(
    world: World,
) -> None:
    cut = msgspec.structs.replace(record("cut"), defects=(Defect(SHORTER_THAN_LISTED),))
    assert world.ledger.restore(BATCH, [cut]) == 1
    assert world.ledger.known("mb-a", ["u1"]) == {}
    assert list(world.ledger.committed("mb-a", [cut.id])) == [cut.id]


def test_what_is_read_back_says_so_in_the_same_step(client: Redis) -> None:
    world = RedisWorld(client)
    world.ledger.restore(BATCH, [record("one")])
    ((event, _),) = world.run("XRANGE", "mail-ingest:outbox", "-", "+")
    for key in ("held", "restored:mb-a"):
        assert float(world.run("GET", f"mail-ingest:{key}")) * 1000 > int(event.split(b"-")[0])


def test_reading_back_leaves_an_entry_that_is_newer(world: World, lease: Lease) -> None:
    world.ledger.commit(lease, [commitment("new octets", "u1")])
    world.ledger.settle(lease, ["u1"])
    before = world.ledger.known(lease.mailbox, ["u1"])
    assert world.ledger.restore(BATCH, [record("old octets", unique_id="u1")]) == 1
    assert world.ledger.known(lease.mailbox, ["u1"]) == before


def test_listed_batches_that_were_never_committed_here_are_named(
    world: World, lease: Lease
) -> None:
    world.ledger.commit(lease, [commitment("one", batch="01A")])
    world.ledger.restore("01B", [record("two")])
    assert world.ledger.unknown_batches(["01A", "01B", "01C"]) == ["01C"]
    assert world.ledger.unknown_batches([]) == []


def test_nothing_is_left_of_a_dropped_mailbox(world: World, lease: Lease) -> None:
    world.ledger.commit(lease, [commitment("one")])
    world.schedule.release(lease, None, b"kept")
    world.ledger.drop(lease.mailbox)
    assert not world.ledger.known(lease.mailbox, ["u1"])
    assert not world.ledger.committed(lease.mailbox, [record("one").id])
    assert world.schedule.standing(lease.mailbox) == b""


def test_a_unique_id_of_any_octets_is_kept_as_it_is(world: World, lease: Lease) -> None:
    unique_id = "\udcff\x00é"
    world.ledger.commit(lease, [commitment("one", unique_id)])
    assert list(world.ledger.known(lease.mailbox, [unique_id])) == [unique_id]
