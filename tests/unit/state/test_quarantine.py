from __future__ import annotations

import msgspec
import pytest
from redis import Redis

from ingest.intake.policy import MOST_ATTEMPTS
from ingest.model import NOT_PARSED, Defect, Lease
from ingest.state.ledger import RedisLedger
from ingest.state.quarantine import Quarantine, Quarantined, Skipped
from ingest.state.schedule import Schedule
from tests.fakes.mail_values import BATCH, commitment, mailbox
from tests.servers.valkey import make_whole


@pytest.fixture
def lease(client: Redis) -> Lease:
    make_whole(client)
    lease = Schedule(client).claim_mailbox(mailbox(), 60)
    assert lease is not None
    return lease


def test_what_is_committed_unparsed_is_in_it_until_it_is_discarded(
    client: Redis, lease: Lease
) -> None:
    parsed = commitment("parsed", "u1")
    unparsed = commitment("unparsed", "u2")
    record = msgspec.structs.replace(unparsed.record, defects=(Defect(NOT_PARSED),))
    ledger, quarantine = RedisLedger(client), Quarantine(client)
    ledger.commit(lease, [parsed, unparsed._replace(record=record)])
    assert list(quarantine.stored()) == [Quarantined(record.id, lease.mailbox, BATCH)]
    assert quarantine.discard(record.id)
    assert not quarantine.discard(record.id)
    assert list(quarantine.stored()) == []


def test_a_read_back_puts_them_in_again(client: Redis) -> None:
    record = msgspec.structs.replace(commitment("x").record, defects=(Defect(NOT_PARSED),))
    RedisLedger(client).restore(BATCH, [record])
    assert [each.record_id for each in Quarantine(client).stored()] == [record.id]


def test_what_sessions_skip_is_named_until_it_is_forgiven(client: Redis, lease: Lease) -> None:
    ledger, quarantine = RedisLedger(client), Quarantine(client)
    for _ in range(2 * MOST_ATTEMPTS + 1):
        ledger.count_attempts(lease, ["skipped\udcff"])
    ledger.count_attempts(lease, ["tried"])
    skipped = Skipped(lease.mailbox, "skipped\udcff", 2 * MOST_ATTEMPTS + 1)
    assert quarantine.skipped(lease.mailbox) == [skipped]
    assert quarantine.forgive(lease.mailbox, "skipped\udcff")
    assert not quarantine.forgive(lease.mailbox, "skipped\udcff")
    assert quarantine.skipped(lease.mailbox) == []
