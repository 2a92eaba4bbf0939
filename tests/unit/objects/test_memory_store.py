"""The faults that other tests ask the store in memory for."""

from __future__ import annotations

import pytest

from ingest.errors import StoreFull, StoreUnavailable
from tests.fakes.memory_store import MemoryStore


def test_the_call_that_was_asked_for_fails_before_it_takes_effect() -> None:
    store = MemoryStore()
    store.put("part-1", b"x")
    store.fail("put", StoreUnavailable("down"), nth=2)
    store.put("part-2", b"x")
    with pytest.raises(StoreUnavailable):
        store.put("part-3", b"x")
    store.put("part-4", b"x")
    assert sorted(store.objects) == ["part-1", "part-2", "part-4"]


def test_a_call_can_fail_after_it_took_effect() -> None:
    store = MemoryStore()
    store.fail("commit", StoreUnavailable("the answer was lost"), after=True)
    with store.create("part-1") as writer:
        assert isinstance(writer.commit().exception(0), StoreUnavailable)
    assert "part-1" in store.objects


def test_a_frozen_store_leaves_commits_pending_until_it_thaws() -> None:
    store = MemoryStore()
    with store.create("part-1") as writer:
        store.freeze()
        durable = writer.commit()
    assert not durable.done()
    store.thaw()
    durable.result(0)
    assert "part-1" in store.objects


def test_a_full_store_takes_nothing_more_and_gives_back_what_it_has() -> None:
    store = MemoryStore()
    store.put("part-1", b"x")
    store.full = True
    with pytest.raises(StoreFull):
        store.put("part-2", b"x")
    assert b"".join(store.read("part-1")) == b"x"


def test_the_journal_tells_operations_in_order() -> None:
    store = MemoryStore()
    with store.create("part-1") as writer:
        writer.write(b"x")
        writer.commit()
    store.delete(["part-1"])
    assert store.journal == [
        ("create", "part-1"),
        ("write", "part-1"),
        ("commit", "part-1"),
        ("delete", "part-1"),
    ]
