from __future__ import annotations

import threading
from collections.abc import Collection

import pytest

from ingest.errors import StateUnavailable
from ingest.model import Lease
from ingest.state.renewal import LeaseKeeper
from tests.fakes.mail_values import mailbox
from tests.fakes.memory_state import MemorySchedule, MemoryState


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def state() -> MemoryState:
    return MemoryState()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keeper(state: MemoryState, clock: Clock) -> LeaseKeeper:
    return LeaseKeeper(MemorySchedule(state), 3600, clock)


def test_a_renewed_lease_lasts_and_one_call_renews_all(
    state: MemoryState, clock: Clock, keeper: LeaseKeeper
) -> None:
    first, second = state.lease(mailbox("a")), state.lease(mailbox("b"))
    with keeper.hold(first), keeper.hold(second):
        clock.seconds += 1700
        assert keeper.renew()
        clock.seconds += 3500
        assert not keeper.lost(first)
        assert not keeper.lost(second)
    assert state.calls == ["renew"]


def test_a_lease_is_lost_when_its_time_ends_though_redis_says_nothing(
    state: MemoryState, clock: Clock, keeper: LeaseKeeper
) -> None:
    def unreachable(operation: str) -> None:
        raise StateUnavailable(operation)

    lease = state.lease(mailbox())
    state.faults.append(unreachable)
    with keeper.hold(lease):
        assert not keeper.renew()
        assert not keeper.lost(lease)
        clock.seconds += 1801
        assert keeper.lost(lease)


def test_the_time_of_a_lease_counts_from_before_the_request(
    state: MemoryState, clock: Clock, keeper: LeaseKeeper
) -> None:
    def slow(operation: str) -> None:
        clock.seconds += 1000 if operation == "renew" else 0

    lease = state.lease(mailbox())
    state.faults.append(slow)
    with keeper.hold(lease):
        keeper.renew()
        clock.seconds += 2599
        assert not keeper.lost(lease)
        clock.seconds += 1
        assert keeper.lost(lease)


def test_a_lease_that_somebody_else_took_is_lost_and_stays_lost(
    state: MemoryState, keeper: LeaseKeeper
) -> None:
    lease, other = state.lease(mailbox("a")), state.lease(mailbox("b"))
    state.steal(lease)
    with keeper.hold(lease), keeper.hold(other):
        assert keeper.renew()
        assert keeper.lost(lease)
        assert not keeper.lost(other)
        assert keeper.renew()
        assert keeper.lost(lease)


def test_a_lease_that_is_not_held_counts_as_lost(state: MemoryState, keeper: LeaseKeeper) -> None:
    lease = state.lease(mailbox())
    assert keeper.lost(lease)
    with keeper.hold(lease):
        assert not keeper.lost(lease)
    assert keeper.lost(lease)
    assert keeper.renew()


def test_one_thread_renews_for_the_whole_process_until_it_is_closed() -> None:
    class Renewing:
        def __init__(self) -> None:
            self.asked = threading.Semaphore(0)
            self.threads: set[str] = set()

        def renew(self, leases: Collection[Lease], lease_seconds: float) -> set[Lease]:
            self.threads.add(threading.current_thread().name)
            self.asked.release()
            return set()

    renewing = Renewing()
    keeper = LeaseKeeper(renewing, 0.03)
    with keeper.hold(Lease("a", "g", "1")), keeper.hold(Lease("b", "g", "2")):
        for _ in range(3):
            assert renewing.asked.acquire(timeout=10)
    keeper.close()
    assert renewing.threads == {"lease-keeper"}
