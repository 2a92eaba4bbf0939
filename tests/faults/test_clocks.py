"""Clocks that are set forward and back while workers are at work."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest

from tests import messages
from tests.e2e.fleet import Fleet, fleet
from tests.faults.inside import registered
from tests.faults.invariants import (
    assert_nothing_has_two_ids,
    assert_the_sweep_leaves_only_what_is_referred_to,
    delivered,
)
from tests.faults.test_zombies import obey
from tests.servers.dovecot import Dovecot
from tests.servers.faketime import Clock
from tests.servers.valkey import valkey_server

pytestmark = [pytest.mark.exam, pytest.mark.faketime]

HOUR = timedelta(hours=1)
OLD, NEW, KEPT = (
    [messages.small(seed).octets for seed in range(start, start + 3)] for start in (0, 10, 20)
)


class World(NamedTuple):
    """A fleet, and two clocks."""

    ours: Fleet
    redis: Clock
    workers: Clock  # and the beat's


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    redis, workers = Clock(tmp_path / "redis.clock"), Clock(tmp_path / "workers.clock")
    with contextlib.ExitStack() as stack:
        with mock.patch.dict(os.environ, redis.environment):
            valkey = stack.enter_context(valkey_server())
        ours = stack.enter_context(fleet(tmp_path, valkey.url, {"INGEST_LEASE_SECONDS": "600"}))
        yield World(ours, redis, workers)


@pytest.mark.timeout(100)
@pytest.mark.parametrize("hours", [1, -1])
@pytest.mark.parametrize("whose", ["redis", "workers", "all"])
def test_a_clock_that_is_set_wrong_by_an_hour_loses_nothing_and_deletes_nothing_early(
    world: World, whose: str, hours: int, dovecot: Dovecot
) -> None:
    ours, redis, workers = world
    emptied = dovecot.add_user(f"emptied-{whose}{hours}")
    kept = dovecot.add_user(f"kept-{whose}{hours}")
    # By the right clock, what is kept for half an hour is not deleted within this test.
    after = "after 30m" if whose == "workers" else "after 7d"
    for maildrop, rule in ((emptied, "committed"), (kept, after)):
        obey(ours, registered(ours, maildrop, dovecot.pop3_port), rule)
    expected = delivered(emptied, OLD) | delivered(kept, KEPT)
    for role in ("beat", "worker"):
        ours.launch([sys.executable, "-m", "tests.faults.stepped", role, str(workers.path)])
    ours.wait(lambda: is_published(ours, expected) and not emptied.count(), 40)
    clocks = {"redis": [redis], "workers": [workers], "all": [redis, workers]}[whose]
    for clock in clocks:
        clock.step(hours * HOUR)
    expected |= delivered(emptied, NEW)
    time.sleep(3)  # a session or two, if any is due by that clock
    if redis in clocks and hours < 0:
        # What was due by the wrong hour waits until that comes again, or somebody polls by hand.
        ours.run("poll", emptied.name)
        for clock in clocks:
            clock.step(timedelta())
    ours.wait(lambda: is_published(ours, expected) and not emptied.count(), 20)
    assert kept.count() == len(KEPT)
    for clock in (redis, workers):
        clock.step(timedelta(days=8))
    ours.wait(lambda: not kept.count(), 20)
    assert_nothing_has_two_ids(ours, expected)
    assert_the_sweep_leaves_only_what_is_referred_to(ours)


def is_published(ours: Fleet, expected: set[str]) -> bool:
    return {event.data.sha256 for event in ours.events()} == expected
