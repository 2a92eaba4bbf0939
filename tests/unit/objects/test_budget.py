from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from ingest.errors import SessionStopped, SettingsError, StoreUnavailable
from ingest.objects.budget import BLOCK, Budget


def never() -> bool:
    return False


def started(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_budget_smaller_than_one_block_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match="less than one block"):
        Budget(BLOCK - 1)


def test_octets_given_back_are_free_again() -> None:
    budget = Budget(BLOCK)
    budget.acquire_block(never)
    assert budget.free == 0
    budget.release(BLOCK)
    assert budget.free == BLOCK


def test_who_waits_is_served_when_another_gives_back() -> None:
    budget = Budget(BLOCK)
    held = budget.acquire_block(never)
    waiter = started(lambda: budget.acquire_block(never))
    budget.release_block(held)
    waiter.join(10)
    assert budget.free == 0


def test_a_shutdown_ends_the_wait_and_leaves_nothing_held() -> None:
    budget = Budget(BLOCK)
    budget.acquire_block(never)
    with pytest.raises(SessionStopped):
        budget.acquire_block(lambda: True)
    budget.release(BLOCK)
    assert budget.try_block() is not None


def test_a_wait_that_is_never_served_is_given_up() -> None:
    budget = Budget(BLOCK, patience=0)
    budget.acquire_block(never)
    with pytest.raises(StoreUnavailable, match="no upload buffer"):
        budget.acquire_block(never)


def test_the_one_who_waits_longest_is_not_overtaken() -> None:
    budget = Budget(3 * BLOCK)
    assert budget.try_block(2 * BLOCK) is not None
    order: list[str] = []
    waiting = threading.Event()

    def go_on() -> bool:
        waiting.set()
        return False

    def wait(name: str) -> None:
        budget.acquire_block(go_on)
        order.append(name)

    first = started(lambda: wait("first"))
    assert waiting.wait(10)
    second = started(lambda: wait("second"))
    while len(budget._queue) < 2:
        waiting.wait(0.01)
    budget.release(1)
    assert budget.try_block(1) is None
    budget.release(BLOCK - 1)
    first.join(10)
    assert order == ["first"]
    budget.release(BLOCK)
    second.join(10)
    assert order == ["first", "second"]


def test_a_block_is_used_again() -> None:
    budget = Budget(2 * BLOCK)
    first = budget.acquire_block(never)
    budget.release_block(first)
    assert budget.acquire_block(never) is first


def test_spare_blocks_never_count_beside_what_is_held() -> None:
    budget = Budget(3 * BLOCK)
    blocks = [budget.acquire_block(never), budget.acquire_block(never)]
    for block in blocks:
        budget.release_block(block)
    assert budget.try_block(BLOCK + 1) is not None
    assert len(budget._spare) == 1
    assert budget.try_block(BLOCK - 1) is not None
    budget.acquire_block(never, nested=True)
    assert len(budget._spare) == 0


def test_part_of_a_block_can_stay_held() -> None:
    budget = Budget(BLOCK)
    budget.release_block(budget.acquire_block(never), keep=10)
    assert budget.free == BLOCK - 10


def test_many_threads_never_hold_more_than_the_budget() -> None:
    budget = Budget(3 * BLOCK)
    least = [budget.free]

    def work() -> None:
        for _ in range(20):
            block = budget.acquire_block(never)
            second = budget.try_block()
            least.append(budget.free)
            if second is not None:
                budget.release_block(second)
            budget.release_block(block)

    threads = [started(work) for _ in range(8)]
    for thread in threads:
        thread.join(30)
    assert min(least) >= 0
    assert budget.free == 3 * BLOCK


def test_one_block_is_kept_for_those_who_hold_one_already() -> None:
    budget = Budget(2 * BLOCK, patience=0)
    budget.acquire_block(never)
    assert budget.try_block() is None
    with pytest.raises(StoreUnavailable):
        budget.acquire_block(never)
    budget.acquire_block(never, nested=True)
    assert budget.free == 0


def test_those_who_hold_two_blocks_do_not_stop_each_other() -> None:
    budget = Budget(4 * BLOCK, patience=60)
    holding = threading.Barrier(3)

    def work() -> None:
        outer = budget.acquire_block(never)
        holding.wait(30)
        inner = budget.acquire_block(never, nested=True)
        budget.release_block(inner)
        budget.release_block(outer)

    threads = [started(work) for _ in range(3)]
    for thread in threads:
        thread.join(30)
    assert budget.free == 4 * BLOCK
