from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from ingest.errors import BuffersTaken, SessionStopped, SettingsError
from ingest.objects.budget import BLOCK, Budget, Share, limit_group


def never() -> bool:
    return False


def started(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def share_of(budget: Budget, group: str, *, nested: bool = False) -> Share:
    token = limit_group.set(group)
    try:
        return budget.share(nested=nested)
    finally:
        limit_group.reset(token)


def taken(budget: Budget, group: str, *, nested: bool = False) -> Share:
    """A share that holds a block."""
    share = share_of(budget, group, nested=nested)
    share.acquire_block(never)
    return share


def test_a_budget_smaller_than_one_block_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match="less than one block"):
        Budget(BLOCK - 1)


def test_octets_given_back_are_free_again() -> None:
    budget = Budget(BLOCK)
    share = budget.share()
    block = share.acquire_block(never)
    assert (len(block), budget.free) == (BLOCK, 0)
    share.release_block(block)
    assert budget.free == BLOCK


def test_who_waits_is_served_when_another_gives_back() -> None:
    budget = Budget(BLOCK)
    first = taken(budget, "a")
    waiter = started(lambda: taken(budget, "b"))
    first.release(BLOCK)
    waiter.join(10)
    assert budget.free == 0


def test_a_shutdown_ends_the_wait_and_leaves_nothing_held() -> None:
    budget = Budget(BLOCK)
    first = taken(budget, "a")
    with pytest.raises(SessionStopped):
        budget.share().acquire_block(lambda: True)
    first.release(BLOCK)
    assert budget.share().try_block() is not None


def test_a_wait_that_is_never_served_is_given_up() -> None:
    budget = Budget(BLOCK, patience=0)
    taken(budget, "a")
    with pytest.raises(BuffersTaken, match="no upload buffer"):
        taken(budget, "b")


def test_the_one_who_waits_longest_is_not_overtaken() -> None:
    budget = Budget(3 * BLOCK)
    held = [taken(budget, "a"), taken(budget, "b")]
    order: list[str] = []

    def wait(group: str) -> None:
        taken(budget, group)
        order.append(group)

    first = started(lambda: wait("c"))
    while len(budget._waiting) < 1:
        first.join(0.01)
    second = started(lambda: wait("d"))
    while len(budget._waiting) < 2:
        second.join(0.01)
    with budget._changed:
        held[0].release(BLOCK)
        assert budget.share().try_block() is None
    first.join(10)
    assert order == ["c"]
    held[1].release(BLOCK)
    second.join(10)
    assert order == ["c", "d"]


def test_a_block_is_used_again() -> None:
    budget = Budget(2 * BLOCK)
    share = budget.share()
    first = share.acquire_block(never)
    share.release_block(first)
    assert share.acquire_block(never) is first


def test_spare_blocks_never_count_beside_what_is_held() -> None:
    budget = Budget(3 * BLOCK)
    shares = [share_of(budget, group) for group in "ab"]
    for share, block in [(share, share.acquire_block(never)) for share in shares]:
        share.release_block(block)
    assert len(budget._spare) == 2
    taken(budget, "a")
    taken(budget, "b")
    assert len(budget._spare) == 0
    assert share_of(budget, "c", nested=True).acquire_block(never)
    assert budget.free == 0


def test_part_of_a_block_can_stay_held() -> None:
    budget = Budget(BLOCK)
    share = budget.share()
    share.release_block(share.acquire_block(never), keep=10)
    assert budget.free == BLOCK - 10
    share.release(10)
    assert budget.free == BLOCK


def test_many_threads_never_hold_more_than_the_budget() -> None:
    budget = Budget(3 * BLOCK)
    least = [budget.free]

    def work(group: str) -> None:
        for _ in range(20):
            share = share_of(budget, group)
            block = share.acquire_block(never)
            second = share.try_block()
            least.append(budget.free)
            if second is not None:
                share.release_block(second)
            share.release_block(block)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, "aabbccdd"))
    assert min(least) >= 0
    assert budget.free == 3 * BLOCK


def test_one_block_is_kept_for_those_who_hold_one_already() -> None:
    budget = Budget(2 * BLOCK, patience=0)
    first = taken(budget, "a")
    assert first.try_block() is None
    with pytest.raises(BuffersTaken):
        taken(budget, "b")
    taken(budget, "a", nested=True)
    assert budget.free == 0


@pytest.mark.parametrize("groups", ["abc", "aaa"])
def test_those_who_hold_two_blocks_do_not_stop_each_other(groups: str) -> None:
    budget = Budget(8 * BLOCK, patience=60)
    holding = threading.Barrier(3)

    def work(group: str) -> None:
        outer = taken(budget, group)
        holding.wait(30)
        taken(budget, group, nested=True).release(BLOCK)
        outer.release(BLOCK)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(work, groups))
    assert budget.free == 8 * BLOCK


def test_a_group_that_keeps_its_blocks_for_ever_leaves_half_of_them_to_others() -> None:
    budget = Budget(8 * BLOCK, patience=0)
    slow = [taken(budget, "slow") for _ in range(4)]
    with pytest.raises(BuffersTaken):
        taken(budget, "slow")
    assert slow[0].try_block() is None
    for _ in range(100):
        taken(budget, "other").release(BLOCK)


def test_a_group_that_waits_for_more_than_its_half_holds_up_nobody() -> None:
    budget = Budget(8 * BLOCK)
    slow = [taken(budget, "slow") for _ in range(4)]
    waiting = started(lambda: taken(budget, "slow"))
    while not budget._waiting:
        waiting.join(0.01)
    other = taken(budget, "other")
    assert other.try_block() is not None
    slow[0].release(BLOCK)
    other.release(2 * BLOCK)
    waiting.join(10)
    assert budget.free == 4 * BLOCK


def test_a_group_that_holds_two_blocks_at_a_time_leaves_some_to_others_as_well() -> None:
    budget = Budget(8 * BLOCK, patience=0)
    for _ in range(4):
        taken(budget, "slow")
    nested = taken(budget, "slow", nested=True)
    with pytest.raises(BuffersTaken):
        taken(budget, "slow", nested=True)
    taken(budget, "other").release(BLOCK)
    nested.release(BLOCK)
    taken(budget, "slow", nested=True)
