from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from redis import Redis

from ingest.errors import StateError
from ingest.intake.relay import OutboxEvent
from ingest.state import outbox as outbox_module
from ingest.state.commands import Commands
from ingest.state.ledger import RedisLedger
from ingest.state.outbox import Outbox, oldest_event
from ingest.state.schedule import Schedule
from tests.fakes.mail_values import BATCH, commitment, mailbox, record
from tests.servers.valkey import make_whole

KEY = "mail-ingest:outbox"


def put(client: Redis, count: int, start: int = 0) -> None:
    for n in range(start, start + count):
        client.xadd(KEY, {"id": f"e{n}", "type": "stored", "mailbox": "mb-a", "json": "{}"})


def ids(events: Sequence[OutboxEvent]) -> list[str]:
    return [event.id for event in events]


def entries(events: Sequence[OutboxEvent]) -> list[str]:
    return [event.entry for event in events]


def test_events_come_in_their_order_and_once_they_are_acknowledged_no_more(client: Redis) -> None:
    put(client, 5)
    outbox = Outbox(client, "sink")
    first = outbox.read(3)
    assert ids(first) == ["e0", "e1", "e2"]
    outbox.acknowledge(entries(first))
    second = outbox.read(3)
    assert ids(second) == ["e3", "e4"]
    outbox.acknowledge(entries(second))
    assert outbox.read(3, block_ms=1) == []


def test_what_was_read_and_not_acknowledged_comes_first_also_after_a_restart(
    client: Redis,
) -> None:
    put(client, 4)
    outbox = Outbox(client, "sink", "worker-1")
    read = outbox.read(2)
    outbox.acknowledge(entries(read[:1]))
    assert ids(outbox.read(2)) == ["e1"]
    assert ids(Outbox(client, "sink", "worker-1").read(2)) == ["e1"]


def test_two_consumers_of_a_sink_share_its_events(client: Redis) -> None:
    put(client, 4)
    assert ids(Outbox(client, "sink", "a").read(2)) == ["e0", "e1"]
    assert ids(Outbox(client, "sink", "b").read(2)) == ["e2", "e3"]


def test_what_a_dead_consumer_left_is_taken_over(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(client, 2)
    Outbox(client, "sink", "dead").read(2)
    assert Outbox(client, "sink", "early").read(2) == []
    monkeypatch.setattr(outbox_module, "ABANDONED_MS", 0)
    assert ids(Outbox(client, "sink", "heir").read(2)) == ["e0", "e1"]


def test_consumers_long_gone_are_dropped_but_never_with_events_they_hold(
    client: Redis, run: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(client, 1)
    Outbox(client, "sink", "holder").read(1)
    run.run("XGROUP CREATECONSUMER", KEY, "sink", "idle")
    monkeypatch.setattr(outbox_module, "CONSUMER_KEPT_MS", -1)
    Outbox(client, "sink", "me").read(1)
    consumers = {consumer["name"] for consumer in run.run("XINFO CONSUMERS", KEY, "sink")}
    assert consumers == {b"holder", b"me"}


def test_each_sink_gets_every_event(client: Redis) -> None:
    put(client, 2)
    assert ids(Outbox(client, "one").read(9)) == ["e0", "e1"]
    assert ids(Outbox(client, "two").read(9)) == ["e0", "e1"]


def test_only_what_every_sink_has_is_trimmed(client: Redis) -> None:
    put(client, 6)
    one, two = Outbox(client, "one"), Outbox(client, "two")
    assert one.trim() == 0
    read = one.read(6)
    one.acknowledge(entries(read))
    two.read(1)
    assert one.trim() == 0
    two.acknowledge(entries(two.read(1)))
    assert one.trim() == 1
    rest = two.read(4)
    two.acknowledge([*entries(rest[:1]), *entries(rest[2:])])
    assert one.trim() == 1
    assert ids(two.read(9)) == ["e2"]
    two.acknowledge(entries(rest[1:2]))
    assert one.trim() == 3
    assert client.xlen(KEY) == 1


def test_without_sinks_nothing_is_trimmed(client: Redis) -> None:
    assert Outbox(client, "sink").trim() == 0
    put(client, 2)
    assert Outbox(client, "sink").trim() == 0


def test_depth_and_age_count_what_the_sink_does_not_have(client: Redis) -> None:
    outbox = Outbox(client, "sink")
    assert outbox.depth() == 0
    assert outbox.age_seconds() == 0
    client.xadd(KEY, {"id": "old", "type": "t", "mailbox": "m", "json": "{}"}, id="1000-0")
    put(client, 2)
    assert outbox.depth() == 3
    assert outbox.age_seconds() > 1e6
    read = outbox.read(2)
    assert outbox.depth() == 3
    assert outbox.age_seconds() > 1e6
    outbox.acknowledge(entries(read))
    assert outbox.depth() == 1
    assert outbox.age_seconds() < 1e6
    outbox.acknowledge(entries(outbox.read(2)))
    assert outbox.depth() == 0
    assert outbox.age_seconds() == 0


def test_a_redis_that_lost_its_keys_gets_the_sink_again(client: Redis) -> None:
    outbox = Outbox(client, "sink")
    assert outbox.read(1) == []
    client.flushall()
    put(client, 1)
    assert ids(outbox.read(1)) == ["e0"]


def test_a_key_of_somebody_else_is_an_error_and_no_endless_loop(client: Redis) -> None:
    client.set(KEY, "theirs")
    with pytest.raises(StateError, match="another program"):
        Outbox(client, "sink").read(1)


def test_an_event_that_was_trimmed_unread_is_skipped(client: Redis) -> None:
    put(client, 2)
    outbox = Outbox(client, "sink")
    client.xdel(KEY, outbox.read(2)[0].entry)
    assert ids(outbox.read(2)) == ["e1"]


def test_the_oldest_event_is_the_one_that_some_sink_lacks(client: Redis, run: Commands) -> None:
    assert oldest_event(run) is None
    client.xadd(KEY, {"id": "a", "type": "t", "mailbox": "m", "json": "{}"}, id="1000-0")
    client.xadd(KEY, {"id": "b", "type": "t", "mailbox": "m", "json": "{}"}, id="2000-0")
    outbox = Outbox(client, "sink")
    read = outbox.read(2)
    assert (oldest := oldest_event(run)) is not None
    assert oldest.timestamp() == 1
    outbox.acknowledge(entries(read[:1]))
    assert (oldest := oldest_event(run)) is not None
    assert oldest.timestamp() == 2
    outbox.acknowledge(entries(read[1:]))
    assert oldest_event(run) is None


def test_what_every_sink_has_accepted_is_told_apart_from_what_waits(client: Redis) -> None:
    make_whole(client)
    ledger, outbox = RedisLedger(client), Outbox(client, "stream")
    lease = Schedule(client).claim_mailbox(mailbox(), 60)
    assert lease
    committed_at = ledger.horizon(mailbox().id).now
    assert ledger.horizon(mailbox().id).accepted_before >= committed_at
    ledger.commit(lease, [commitment("x")])
    waits_since = ledger.horizon(mailbox().id).accepted_before  # to the millisecond
    assert committed_at - 0.001 <= waits_since < committed_at + 5
    time.sleep(0.01)
    [event] = outbox.read(10)
    waiting = ledger.horizon(mailbox().id)
    assert waiting.accepted_before < waiting.now
    outbox.acknowledge([event.entry])
    done = ledger.horizon(mailbox().id)
    assert done.accepted_before == done.now


def test_what_a_read_back_put_is_not_accepted_because_its_record_is_old(client: Redis) -> None:
    make_whole(client)
    ledger, outbox = RedisLedger(client), Outbox(client, "stream")
    ledger.restore(BATCH, [record("x")])
    assert ledger.horizon(mailbox().id).accepted_before == 0
    [event] = outbox.read(10)
    outbox.acknowledge([event.entry])
    done = ledger.horizon(mailbox().id)
    assert done.accepted_before == done.now


def test_an_event_that_waits_is_not_accepted_because_the_clock_was_set_back(client: Redis) -> None:
    make_whole(client)
    ledger, outbox = RedisLedger(client), Outbox(client, "stream")
    lease = Schedule(client).claim_mailbox(mailbox(), 60)
    assert lease
    ahead = int(time.time() * 1000) + 30_000
    client.xadd(KEY, {"id": "e", "type": "t", "mailbox": "m", "json": "{}"}, id=f"{ahead}-0")
    outbox.acknowledge(entries(outbox.read(10)))
    outbox.trim()
    ledger.commit(lease, [commitment("x")])
    horizon = ledger.horizon(mailbox().id)
    entry = ledger.known(lease.mailbox, ["u1"])["u1"]
    assert entry.committed_at + 1 > horizon.accepted_before
    [committed_at] = ledger.committed(lease.mailbox, [entry.record_id]).values()
    assert committed_at == entry.committed_at
