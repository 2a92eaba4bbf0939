"""What Redis knows of a message's way, and what it does not."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from redis import Redis

from ingest.model import Lease
from ingest.state.custody import Custodian, Custody
from ingest.state.ledger import RedisLedger
from ingest.state.outbox import Outbox
from ingest.state.schedule import Schedule
from tests.fakes.mail_values import BATCH, commitment, mailbox, record
from tests.servers.valkey import make_whole

UNKNOWN = Custody(None, {}, "unknown")
EVER = float("inf")


@pytest.fixture
def ledger(client: Redis) -> RedisLedger:
    return RedisLedger(client)


@pytest.fixture
def custodian(client: Redis) -> Custodian:
    return Custodian(client)


@pytest.fixture
def lease(client: Redis) -> Lease:
    make_whole(client)
    lease = Schedule(client).claim_mailbox(mailbox(), 60)
    assert lease
    return lease


def date(client: Redis, octets: str, time: float) -> None:
    """Let a message be committed then."""
    client.zadd("mail-ingest:records:mb-a", {bytes.fromhex(record(octets).id): time})


def test_what_the_ledger_never_knew_or_forgot_is_unknown(custodian: Custodian) -> None:
    assert custodian.of("mb-a", [record("one")]) == [UNKNOWN]
    assert custodian.of("mb-a", []) == []


def test_a_message_is_open_until_its_delete_is_confirmed(
    custodian: Custodian, ledger: RedisLedger, lease: Lease
) -> None:
    ledger.commit(lease, [commitment("one", "u1"), commitment("two", "u2")])
    ledger.settle(lease, ["u2"])
    one, two = custodian.of("mb-a", [record("one", unique_id="u1"), record("two", unique_id="u2")])
    assert (one.deletion, two.deletion) == ("open", "confirmed")
    assert one.committed_at
    assert abs((datetime.now(UTC) - one.committed_at).total_seconds()) < 60


def test_a_unique_id_that_other_octets_have_now_says_nothing_of_those_before(
    custodian: Custodian, ledger: RedisLedger, lease: Lease
) -> None:
    ledger.commit(lease, [commitment("first", "u1")])
    ledger.settle(lease, ["u1"])
    ledger.commit(lease, [commitment("second", "u1")])
    first, second = custodian.of("mb-a", [record("first"), record("second")])
    assert (first.deletion, second.deletion) == ("unknown", "open")
    assert first.committed_at


def test_a_message_without_unique_id_is_known_but_not_whether_it_is_deleted(
    custodian: Custodian, ledger: RedisLedger, lease: Lease
) -> None:
    ledger.commit(lease, [commitment("one", None)])
    [one] = custodian.of("mb-a", [record("one", unique_id=None)])
    assert one.committed_at
    assert one.deletion == "unknown"


def test_an_event_waits_for_each_sink_until_that_one_has_it(
    client: Redis, custodian: Custodian, ledger: RedisLedger, lease: Lease
) -> None:
    quick, slow = Outbox(client, "quick"), Outbox(client, "slow")
    ledger.commit(lease, [commitment("before", "u0")])
    for outbox in (quick, slow):
        outbox.acknowledge([event.entry for event in outbox.read(10)])
    date(client, "before", time.time() - 10)
    ledger.commit(lease, [commitment("one", "u1")])
    read = quick.read(10)
    slow.read(10)
    both = [record("before", unique_id="u0"), record("one", unique_id="u1")]
    waiting = {"quick": "waiting", "slow": "waiting"}
    accepted = {"quick": "accepted", "slow": "accepted"}
    assert [each.events for each in custodian.of("mb-a", both)] == [accepted, waiting]
    quick.acknowledge([event.entry for event in read])
    assert [each.events for each in custodian.of("mb-a", both)] == [
        accepted,
        waiting | {"quick": "accepted"},
    ]


def test_events_that_were_put_again_wait_though_their_messages_are_old(
    client: Redis, custodian: Custodian, ledger: RedisLedger
) -> None:
    outbox = Outbox(client, "sink")
    outbox.read(10)
    ledger.restore(BATCH, [record("one")])
    read = outbox.read(10)
    [one] = custodian.of("mb-a", [record("one")])
    assert one.committed_at == record("one").retrieved_at
    assert one.events == {"sink": "waiting"}
    outbox.acknowledge([event.entry for event in read])
    assert custodian.of("mb-a", [record("one")])[0].events == {"sink": "accepted"}


def test_what_the_ledger_has_and_nobody_saw_is_named(
    client: Redis, custodian: Custodian, ledger: RedisLedger, lease: Lease
) -> None:
    ledger.commit(lease, [commitment(each, each) for each in ("seen", "gone", "open", "old")])
    ledger.settle(lease, ["gone"])
    date(client, "old", 1000)
    seen = {bytes.fromhex(record("seen").id)[:8]}

    def unseen(since: float, until: float) -> dict[str, str]:
        found = custodian.unseen("mb-a", since, until, seen)
        return {one.record_id: one.deletion for one in found}

    gone, open_ = record("gone").id, record("open").id
    assert unseen(2000, EVER) == {gone: "confirmed", open_: "open"}
    assert unseen(0, 2000) == {record("old").id: "open"}
    assert unseen(0, 1000) == {}
    assert list(custodian.unseen("mb-b", 0, EVER, seen)) == []
