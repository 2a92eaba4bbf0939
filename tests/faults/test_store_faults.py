"""A store that refuses, fails, lies, dawdles or breaks off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from ingest import bootstrap
from ingest.objects.budget import BLOCK
from ingest.objects.options import S3Options
from ingest.state.connect import connect
from tests import messages
from tests.e2e.fleet import Fleet, fleet, s3_settings
from tests.faults.inside import Inside, inside
from tests.faults.invariants import assert_the_sweep_leaves_only_what_is_referred_to
from tests.servers.dovecot import Dovecot, Maildrop
from tests.servers.s3_proxy import Fault, S3Proxy, error, s3_proxy
from tests.servers.seaweedfs import SeaweedFs
from tests.servers.valkey import Valkey

pytestmark = pytest.mark.exam

COMMIT, PART = "commit.zip", "part-2"
# Each way of a message's octets into the store: operation, and the end of the key.
WRITES = [
    ("put_object", COMMIT),
    ("put_object", PART),
    ("create_multipart_upload", ""),
    ("upload_part", ""),
    ("complete_multipart_upload", ""),
]

# Batches of five: the second one has a part in two blocks, and one of a single request.
MESSAGES = [
    *(messages.small(seed).octets for seed in range(8)),
    messages.with_attachment(1, BLOCK + 100_000).octets,
    messages.with_attachment(2, 100_000).octets,
]

COME_BACK = [
    error(500, "InternalError"),
    error(503, "SlowDown"),
    error(503, "ServiceUnavailable"),  # what a full one says, too
    error(429, "TooManyRequests"),
]
REFUSED = [
    error(403, "AccessDenied"),
    error(403, "InvalidAccessKeyId"),
    error(403, "QuotaExceeded"),
    error(507, "XMinioStorageFull"),
    error(507, "InsufficientStorage"),
]
# What a proxy in between may say to anything.
STRANGER = Fault(200, b"<html>Please sign in.</html>")
CUT_OFF = Fault(reset=True)


@pytest.fixture
def proxy(seaweedfs: SeaweedFs) -> Iterator[S3Proxy]:
    with s3_proxy(seaweedfs.endpoint) as made:
        yield made


@pytest.fixture
def ours(tmp_path: Path, valkey: Valkey, seaweedfs: SeaweedFs, proxy: S3Proxy) -> Iterator[Fleet]:
    settings = {
        **s3_settings(seaweedfs._replace(endpoint=proxy.endpoint), tmp_path.name),
        "INGEST_LEASE_SECONDS": "1",
        "INGEST_BATCH_MESSAGES": "5",
    }
    with fleet(tmp_path, valkey.url, settings) as made:
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store is given an instant to come back, rather than a minute."""
    monkeypatch.setattr(bootstrap, "S3Options", partial(S3Options, deadline=0.2))


@pytest.fixture
def worker(ours: Fleet, dovecot: Dovecot, maildrop: Maildrop) -> Iterator[Inside]:
    with inside(ours, maildrop, dovecot.pop3_port) as made:
        made.deliver(MESSAGES)
        yield made


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("operation", "key"), WRITES)
def test_a_store_that_takes_nothing_costs_no_message(
    operation: str, key: str, ours: Fleet, worker: Inside, proxy: S3Proxy
) -> None:
    faults = [*COME_BACK, *REFUSED] if key == COMMIT else [COME_BACK[0], REFUSED[0]]
    for fault in [*faults, STRANGER, CUT_OFF]:
        struck = proxy.struck
        proxy.strike(operation, fault, key=key)
        worker.turn()
        proxy.heal()
        assert proxy.struck > struck, fault
        worker.assert_nothing_is_lost()
    worker.assert_all_arrives_once()
    assert_the_sweep_leaves_only_what_is_referred_to(ours)


def test_a_store_that_asks_us_to_come_back_is_asked_again_within_the_session(
    worker: Inside, proxy: S3Proxy
) -> None:
    for fault in [COME_BACK[1], STRANGER]:
        for operation, key in WRITES:
            proxy.strike(operation, fault, key=key, times=1)
    worker.turn()
    assert proxy.struck == 2 * len(WRITES)
    assert not worker.failures
    worker.assert_all_arrives_once()


@pytest.mark.parametrize("passed", [True, False], ids=["though it did it", "and did nothing"])
@pytest.mark.parametrize("status", [200, 500])
def test_a_store_that_answers_with_an_error_is_not_believed_to_have_done_it(
    status: int, ours: Fleet, worker: Inside, proxy: S3Proxy, *, passed: bool
) -> None:
    for operation, key in WRITES:
        proxy.strike(operation, error(status, "InternalError", passed=passed), key=key, times=1)
    worker.turn()
    assert proxy.struck == len(WRITES)
    assert not worker.failures
    worker.assert_all_arrives_once()
    assert_the_sweep_leaves_only_what_is_referred_to(ours)


def test_a_store_that_breaks_off_after_it_did_it_is_asked_again(
    ours: Fleet, worker: Inside, proxy: S3Proxy
) -> None:
    for operation, key in WRITES:
        proxy.strike(operation, Fault(passed=True, reset=True), key=key, times=1)
    worker.turn()
    assert proxy.struck == len(WRITES)
    assert not worker.failures
    worker.assert_all_arrives_once()
    assert_the_sweep_leaves_only_what_is_referred_to(ours)


@pytest.mark.usefixtures("impatient")
def test_an_upload_whose_completion_is_never_answered_is_looked_for(
    worker: Inside, proxy: S3Proxy
) -> None:
    proxy.strike("complete_multipart_upload", Fault(passed=True, reset=True))
    worker.turn()
    assert proxy.struck > 1
    assert not worker.failures
    worker.assert_all_arrives_once()


def test_a_store_that_dawdles_is_waited_for_though_the_lease_is_shorter(
    worker: Inside, proxy: S3Proxy
) -> None:
    for operation in ("put_object", "upload_part"):
        proxy.strike(operation, Fault(seconds=1.5, passed=True), times=1)
    worker.turn()
    assert proxy.struck == 2
    assert not worker.failures
    worker.assert_all_arrives_once()


def test_a_worker_with_a_wrong_secret_touches_no_message(
    ours: Fleet, worker: Inside, maildrop: Maildrop
) -> None:
    wrong = {**ours.environment, "AWS_SECRET_ACCESS_KEY": "wrong"}
    with (
        fleet(ours.directory, ours.settings.redis_url, wrong) as theirs,
        inside(theirs, maildrop, mailbox=worker.mailbox) as other,
    ):
        other.turn()
        assert {failure.code for failure in other.failures} == {"store_refused"}
    assert maildrop.count() == len(MESSAGES)
    worker.assert_all_arrives_once()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("operation", ["list_objects_v2", "get_object", "head_object"])
def test_nothing_is_claimed_before_a_lost_index_could_be_read_back(
    operation: str, worker: Inside, proxy: S3Proxy, valkey: Valkey, maildrop: Maildrop
) -> None:
    worker.assert_all_arrives_once()
    worker.deliver([messages.small(100).octets])
    for fault in [COME_BACK[0], REFUSED[0], error(200, "InternalError"), STRANGER, CUT_OFF]:
        with contextlib.closing(connect(valkey.url)) as client:
            client.flushall()
        struck = proxy.struck
        proxy.strike(operation, fault)
        worker.turn()
        worker.turn()
        proxy.heal()
        assert proxy.struck > struck, fault
        assert maildrop.count() == 1, fault
    worker.assert_all_arrives_once()


def test_a_message_is_read_from_answers_that_break_off(worker: Inside, proxy: S3Proxy) -> None:
    proxy.strike("get_object", Fault(octets=300_000))
    worker.assert_all_arrives_once()  # rebuilds each from the store
    assert proxy.struck > BLOCK / 300_000
