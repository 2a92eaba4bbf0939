"""kill -9 of a real worker at each arrow of the way of a message, and what is left of it.

What must hold is told from Dovecot's maildrop, from the store and from the stream of events, never
from what the worker thinks of itself.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from ingest.failpoints import FAILPOINTS
from ingest.model import Mailbox
from ingest.state.connect import connect
from tests import messages
from tests.e2e.fleet import Fleet, Running, fleet, s3_settings
from tests.faults.invariants import (
    assert_all_arrived_once,
    assert_nothing_is_lost,
    assert_the_sweep_leaves_only_what_is_referred_to,
    delivered,
    sha256,
)
from tests.servers.dovecot import Dovecot, Maildrop
from tests.servers.seaweedfs import SeaweedFs
from tests.servers.valkey import Valkey

SMALL = 30
LARGE_OCTETS = 20_000_000  # three blocks of a multipart upload
# Not the first time, where there is more to lose at a later one.
TIMES = {"octets-received": 12, "dele-answered": 5, "part-block-uploaded": 2, "ledger-updated": 2}
# Those that only a worker after another one's death comes to.
AFTERMATH = {"batch-read-back", "batch-swept"}
# Those that every run of the tests tries.
ALWAYS = {"commit-written", "quit-sent", "published"}
POINTS = [
    pytest.param(one, marks=() if one in ALWAYS else pytest.mark.exam)
    for one in FAILPOINTS
    if one not in AFTERMATH
]


@pytest.fixture
def ours(tmp_path: Path, valkey: Valkey, seaweedfs: SeaweedFs) -> Iterator[Fleet]:
    settings = {
        **s3_settings(seaweedfs, tmp_path.name),
        "INGEST_LEASE_SECONDS": "1",
        "INGEST_BATCH_MESSAGES": "10",
    }
    with fleet(tmp_path, valkey.url, settings) as made:
        yield made


@cache
def everything() -> list[bytes]:
    """Small messages, and a large one in the middle."""
    made = [messages.small(seed).octets for seed in range(SMALL)]
    made.insert(SMALL // 2, messages.with_attachment(1, LARGE_OCTETS).octets)
    return made


def work(ours: Fleet, mailbox: Mailbox, *arguments: str) -> Running:
    return ours.launch([sys.executable, "-m", "tests.faults.armed", mailbox.group, *arguments])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_there_loses_nothing_and_says_nothing_twice(
    point: str, ours: Fleet, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    expected = delivered(maildrop, everything())
    mailbox = ours.add(dovecot, maildrop.name)
    dying = work(ours, mailbox, point, str(TIMES.get(point, 1)))
    assert dying.process.wait(60) == -signal.SIGKILL, ours.logs()[-4000:]
    assert_nothing_is_lost(ours, maildrop, expected)
    living = work(ours, mailbox)
    assert_all_arrived_once(ours, maildrop, expected)
    living.kill()
    assert_the_sweep_leaves_only_what_is_referred_to(ours)


@pytest.mark.exam
@pytest.mark.timeout(120)
def test_a_worker_killed_while_it_reads_back_leaves_the_rest_to_the_next(
    ours: Fleet, dovecot: Dovecot, maildrop: Maildrop, valkey: Valkey
) -> None:
    expected = delivered(maildrop, everything())
    mailbox = ours.add(dovecot, maildrop.name)
    first = work(ours, mailbox, "quit-sending")
    assert first.process.wait(60) == -signal.SIGKILL
    with contextlib.closing(connect(valkey.url)) as client:
        client.flushall()
    reading = work(ours, mailbox, "batch-read-back", "2")
    assert reading.process.wait(60) == -signal.SIGKILL
    work(ours, mailbox)
    assert_all_arrived_once(ours, maildrop, expected)


@pytest.mark.exam
@pytest.mark.timeout(120)
def test_a_worker_killed_while_it_sweeps_leaves_the_rest_to_the_next(
    ours: Fleet, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    expected = delivered(maildrop, everything())
    mailbox = ours.add(dovecot, maildrop.name)
    for seed in (2, 3):  # each leaves the parts of a batch that is never committed
        octets = messages.with_attachment(seed, LARGE_OCTETS).octets
        maildrop.deliver(octets)  # one that no process has died of, so that it is tried here
        expected.add(sha256(octets))
        dying = work(ours, mailbox, "part-completed")
        assert dying.process.wait(60) == -signal.SIGKILL
    sweeping = work(ours, mailbox, "batch-swept")
    assert sweeping.process.wait(60) == -signal.SIGKILL
    living = work(ours, mailbox)
    assert_all_arrived_once(ours, maildrop, expected)
    living.kill()  # it tries the store out with an upload of its own, again and again
    assert_the_sweep_leaves_only_what_is_referred_to(ours)
