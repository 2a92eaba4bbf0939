"""Workers without a file descriptor left for sockets, temporary files and the store."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests import messages
from tests.e2e.fleet import Fleet, Running, fleet, s3_settings, stored
from tests.faults.invariants import (
    all_arrived,
    assert_nothing_has_two_ids,
    assert_nothing_is_lost,
    delivered,
)
from tests.servers.dovecot import Dovecot, Maildrop
from tests.servers.seaweedfs import SeaweedFs
from tests.servers.valkey import Valkey

pytestmark = pytest.mark.exam

MESSAGES = [
    *(messages.small(seed).octets for seed in range(8)),
    messages.with_attachment(1, 10**7).octets,
    messages.with_attachment(2, 100_000).octets,
]


@pytest.fixture
def ours(
    request: pytest.FixtureRequest, tmp_path: Path, valkey: Valkey, seaweedfs: SeaweedFs
) -> Iterator[Fleet]:
    settings = {"INGEST_BATCH_MESSAGES": "3"}
    if request.param == "s3":
        settings |= s3_settings(seaweedfs, tmp_path.name)
    with fleet(tmp_path, valkey.url, settings) as made:
        yield made


def leave(worker: Running, spare: int) -> None:
    """Let it have so many descriptors more than it has now; less than none: fewer than it has."""
    pid = worker.process.pid
    open_now = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + spare, most))


def lift(worker: Running) -> None:
    """Let it have as many as before."""
    _, most = resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE, (min(most, 4096), most))


def ran_out(worker: Running) -> bool:
    """Whether it said so."""
    log = worker.log.read_text(errors="replace")
    return any(each in log for each in ("oo many open files", "EMFILE", "may open no more files"))


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("ours", "spare"),
    [
        # Without one, the host's name can't be asked for; with some, the store fails.
        *(("directory", spare) for spare in (-3, 0, 2, 4)),
        *(("s3", spare) for spare in (-9, -6, -3, 0)),
    ],
    indirect=["ours"],
)
def test_a_worker_without_descriptors_loses_nothing_and_goes_on_when_it_has_some(
    spare: int, ours: Fleet, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    expected = delivered(maildrop, MESSAGES[:1])
    ours.add(dovecot, maildrop.name)
    ours.start("beat")
    worker = ours.start("worker")
    ours.wait(partial(all_arrived, ours, maildrop, expected))
    leave(worker, spare)
    expected |= delivered(maildrop, MESSAGES)
    ours.wait(partial(ran_out, worker), 60)
    time.sleep(3)  # a session or two without
    assert_nothing_is_lost(ours, maildrop, expected)
    lift(worker)
    if worker.process.poll() is not None:
        ours.start("worker")  # as whatever runs it does
    ours.wait(partial(all_arrived, ours, maildrop, expected), 60)
    assert_nothing_has_two_ids(ours, expected)
    with ours.store() as store:
        assert not [record.defects for record in stored(store) if record.defects]
