"""kill -9 of real processes in the middle of a session: nothing is lost, no id comes twice."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests import messages
from tests.e2e.fleet import Fleet, fleet, stored
from tests.servers.dovecot import Dovecot, Maildrop
from tests.servers.valkey import Valkey, valkey_server

COUNT = 800


@pytest.fixture
def fragile() -> Iterator[Valkey]:
    """A Valkey of the test's own, which it may kill."""
    with valkey_server() as server:
        yield server


@pytest.fixture
def ours(tmp_path: Path, fragile: Valkey) -> Iterator[Fleet]:
    settings = {"INGEST_BATCH_MESSAGES": "20", "INGEST_SESSION_MESSAGES": "150"}
    with fleet(tmp_path, fragile.url, settings) as made:
        yield made


def delivered(maildrop: Maildrop) -> set[str]:
    """Fill the maildrop; the hashes of what is in it."""
    hashes = set()
    for seed in range(COUNT):
        octets = (
            messages.with_attachment(seed, 200_000) if seed % 4 == 0 else messages.small(seed)
        ).octets
        maildrop.deliver(octets)
        hashes.add(hashlib.sha256(octets).hexdigest())
    return hashes


def assert_all_arrived_once(ours: Fleet, hashes: set[str]) -> None:
    ours.wait(lambda: {event.data.sha256 for event in ours.events()} == hashes)
    events = ours.events()
    with ours.store() as store:
        assert {record.sha256 for record in stored(store)} == hashes
        ids = {event.id for record in stored(store) for event in record.events}
    assert {event.id for event in events} == ids
    assert len(ids) == len(hashes)


@pytest.mark.timeout(300)
def test_a_worker_killed_again_and_again_loses_nothing(
    ours: Fleet, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    hashes = delivered(maildrop)
    ours.add(dovecot, maildrop.name)
    ours.start("beat")
    midway = 0
    for pause in (0.0, 0.05, 0.1):
        worker = ours.start("worker")
        ours.wait(partial(worker.said, "message_committed"))
        time.sleep(pause)
        worker.kill()
        midway += maildrop.count() > 0
        if not maildrop.count():
            break  # a quick machine was done
    assert midway, "the worker was done before it was ever killed"
    ours.start("worker")
    ours.wait(lambda: not maildrop.count())
    assert_all_arrived_once(ours, hashes)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("emptied", [False, True], ids=["kept its files", "lost everything"])
def test_a_valkey_killed_in_the_middle_of_a_session_loses_nothing(
    ours: Fleet, dovecot: Dovecot, maildrop: Maildrop, fragile: Valkey, *, emptied: bool
) -> None:
    hashes = delivered(maildrop)
    ours.add(dovecot, maildrop.name)
    ours.start("beat")
    worker = ours.start("worker")
    ours.wait(partial(worker.said, "message_committed"))
    assert maildrop.count()
    fragile.kill()
    if emptied:
        fragile.empty()
    fragile.start()
    ours.wait(lambda: not maildrop.count())
    assert_all_arrived_once(ours, hashes)
