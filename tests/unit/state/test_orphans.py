"""What is left of a mailbox whose removal did not come to its end."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from ingest.intake.ports import Commitment
from ingest.state.ledger import RedisLedger
from ingest.state.orphans import Orphans
from ingest.state.registry import Registry
from ingest.state.schedule import Schedule
from tests.fakes.mail_values import mailbox, record
from tests.fakes.memory_store import MemoryStore
from tests.servers.valkey import make_whole


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def registry(client: Redis, store: MemoryStore) -> Registry:
    """It knows `a` and `b`, and sessions with both have left everything that they leave."""
    make_whole(client)
    registry = Registry(client, store)
    ledger, schedule = RedisLedger(client), Schedule(client)
    for one in map(mailbox, "ab"):
        registry.add(one)
        lease = schedule.claim_mailbox(one, 60)
        assert lease
        known, read_back = (record(each, mailbox_id=one.id) for each in ("one", "two"))
        ledger.commit(lease, [Commitment(known, "u1")])
        ledger.restore("batch", [read_back])
        ledger.forget(lease, [])
        ledger.count_attempts(lease, ["u2"])
        schedule.release(lease, 60, b"{}")
    return registry


def left(client: Redis, mailbox_id: str) -> set[str]:
    """What Redis has of a mailbox."""
    found: Any = client.keys(f"mail-ingest:*:{mailbox_id}")
    keys = {key.decode().split(":")[1] for key in found}
    return keys | ({"standing"} if client.hexists("mail-ingest:standing", mailbox_id) else set())


ALL = {"entries", "records", "attempts", "gone", "compared", "restored", "standing"}


def test_the_ledger_drops_all_of_a_mailbox(client: Redis, registry: Registry) -> None:
    del registry
    assert left(client, "mb-a") == ALL
    RedisLedger(client).drop("mb-a")
    assert left(client, "mb-a") == set()


def test_all_of_a_mailbox_that_is_no_more_is_dropped_and_nothing_of_others(
    client: Redis, registry: Registry
) -> None:
    registry.remove(mailbox("a"))  # and whoever did it dies
    client.set("another:entries:mb-x", "not ours")
    assert Orphans(client, registry).drop() == len(ALL)
    assert left(client, "mb-a") == set()
    assert left(client, "mb-b") == ALL
    assert client.exists("another:entries:mb-x")
    assert Orphans(client, registry).drop() == 0


def test_a_standing_alone_is_dropped(client: Redis, registry: Registry) -> None:
    registry.remove(mailbox("a"))
    for name in ALL - {"standing"}:
        client.delete(f"mail-ingest:{name}:mb-a")
    assert Orphans(client, registry).drop() == 1
    assert left(client, "mb-a") == set()
    assert left(client, "mb-b") == ALL


@pytest.mark.parametrize("lacks", ["epoch", "run-id"])
def test_nothing_is_dropped_while_redis_is_not_known_to_be_the_index_of_this_store(
    client: Redis, registry: Registry, store: MemoryStore, lacks: str
) -> None:
    client.delete("mail-ingest:mailboxes", f"mail-ingest:{lacks}")
    store.objects.clear()
    assert Orphans(client, registry).drop() == 0
    assert left(client, "mb-a") == ALL


def test_nothing_is_dropped_of_a_mailbox_whose_settings_could_not_be_read_back(
    client: Redis, registry: Registry, store: MemoryStore
) -> None:
    store.put("mailboxes/mb-a.json", b"{")
    client.delete("mail-ingest:mailboxes", "mail-ingest:mailbox-claims")
    registry.restore()
    assert set(registry.ids()) == {"mb-b"}
    assert Orphans(client, registry).drop() == 0
    assert left(client, "mb-a") == ALL


def test_thousands_are_looked_at_in_pages(client: Redis, registry: Registry) -> None:
    for number in range(5000):
        client.set(f"mail-ingest:compared:mb-{number}", 1)
    pages: list[None] = []
    assert Orphans(client, registry).drop(lambda: pages.append(None)) == 5000
    assert len(pages) >= 3
    assert left(client, "mb-b") == ALL
