"""The guide's numbers about Redis and requests: no less than is measured, nor twice as much."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis import Redis

from ingest.intake.ports import Commitment
from ingest.model import Mailbox
from ingest.objects.bucket import Bucket
from ingest.objects.budget import BLOCK
from ingest.state.ledger import RedisLedger
from ingest.state.registry import Registry, new_mailbox_id
from ingest.state.schedule import Schedule
from tests import messages
from tests.e2e.fleet import fleet, s3_settings
from tests.fakes.mail_values import record
from tests.fakes.memory_store import MemoryStore
from tests.faults.inside import Inside, inside
from tests.servers.dovecot import Dovecot, Maildrop
from tests.servers.seaweedfs import SeaweedFs
from tests.servers.valkey import Valkey, make_whole, valkey_client

GUIDE = (Path(__file__).parents[2] / "deploy" / "sizing.md").read_text()
MANY, FEW = 20_000, 100  # messages of a mailbox


def stated(what: str) -> int:
    """What the guide's table says."""
    (found,) = re.findall(rf"^\| {re.escape(what)}[^|]*\| ([\d,]+) \|$", GUIDE, re.MULTILINE)
    return int(found.replace(",", ""))


def assert_true(what: str, measured: float) -> None:
    assert measured <= stated(what) <= 2 * measured, (what, measured)


@pytest.fixture
def redis() -> Iterator[Redis]:
    with valkey_client() as client:
        make_whole(client)
        yield client


def used(client: Redis) -> int:
    memory: Any = client.info("memory")
    return int(memory["used_memory"])


def mailbox(number: int) -> Mailbox:
    return Mailbox(
        id=new_mailbox_id(),
        name=f"customer-{number:06d}",
        host=f"pop{number % 50}.example.org",
        port=995,
        username=f"customer-{number:06d}@example.org",
        password="sealed:" + "x" * 188,
    )


def test_redis_takes_what_the_guide_says_for_a_mailbox(redis: Redis) -> None:
    registry, schedule = Registry(redis, MemoryStore()), Schedule(redis)
    before, count = used(redis), 1000
    for number in range(count):
        one = registry.add(mailbox(number))
        lease = schedule.claim_mailbox(one, 60)
        assert lease
        schedule.release(lease, 600, b'{"interval":600,"failures":0,"polled_at":1764000000.1}')
    assert_true("a mailbox", (used(redis) - before) / count)


@pytest.mark.parametrize(
    ("what", "mailboxes", "count"),
    [
        ("a message that is known, in a mailbox with few", 100, FEW),
        ("a message that is known, in a mailbox with many", 1, MANY),
    ],
)
def test_redis_takes_what_the_guide_says_for_a_message(
    redis: Redis, what: str, mailboxes: int, count: int
) -> None:
    schedule, ledger = Schedule(redis), RedisLedger(redis)
    before = used(redis)
    for number in range(mailboxes):
        lease = schedule.claim_mailbox(mailbox(number), 60)
        assert lease
        for start in range(0, count, 250):
            batch = f"01JB{start:022d}"
            ingested = [
                record(f"{lease.mailbox}{index}", unique_id=f"{index:020d}", batch=batch)
                for index in range(start, min(start + 250, count))
            ]
            ledger.commit(
                lease,
                [
                    Commitment(msgspec.structs.replace(one, events=()), one.unique_id)
                    for one in ingested
                ],
            )
    assert_true(what, (used(redis) - before) / (mailboxes * count))


def test_redis_takes_what_the_guide_says_for_an_event(redis: Redis) -> None:
    before, count = used(redis), 5000
    event = {"id": "a" * 32, "type": "mail-ingest.message.ingested.v1", "event": "x" * 1200}
    for _ in range(count):
        redis.xadd("mail-ingest:events", event)  # type: ignore[arg-type]  # its stubs want more
    assert_true("an event in the stream", (used(redis) - before) / count)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The requests about mail so far, as boto3 names them."""
    asked = Counter[str]()
    request = Bucket.request

    def counted(bucket: Bucket, operation: str, *arguments: Any, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - as of boto3
        if more.get("Key", "").find("/mail/") > 0:
            asked[operation] += 1
        return request(bucket, operation, *arguments, **more)

    monkeypatch.setattr(Bucket, "request", counted)
    return asked


@pytest.fixture
def worker(
    tmp_path: Path, valkey: Valkey, seaweedfs: SeaweedFs, dovecot: Dovecot, maildrop: Maildrop
) -> Iterator[Inside]:
    with (
        fleet(tmp_path, valkey.url, s3_settings(seaweedfs, tmp_path.name)) as ours,
        inside(ours, maildrop, dovecot.pop3_port) as made,
    ):
        yield made


def test_a_batch_and_its_parts_ask_of_the_store_what_the_guide_says(
    worker: Inside, asked: Counter[str]
) -> None:
    worker.deliver([messages.small(seed).octets for seed in range(250)])
    worker.session()
    assert asked == {"put_object": 1}
    asked.clear()
    worker.deliver([messages.with_attachment(1, 100_000).octets])
    worker.session()
    assert asked == {"put_object": 2}
    asked.clear()
    worker.deliver([messages.with_attachment(2, 2 * BLOCK + 1000).octets])
    worker.session()
    assert asked == {
        "put_object": 1,
        "create_multipart_upload": 1,
        "upload_part": 3,
        "complete_multipart_upload": 1,
    }
