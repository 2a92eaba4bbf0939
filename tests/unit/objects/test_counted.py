"""Requests as S3 counts them."""

from __future__ import annotations

import pytest

from ingest.objects.counted import CountedStore
from tests.fakes.memory_store import MemoryStore


@pytest.mark.parametrize(
    ("objects", "requests"), [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (2_500, 3)]
)
def test_a_listing_is_a_request_for_every_thousand_objects(objects: int, requests: int) -> None:
    store = MemoryStore()
    for number in range(objects):
        store.put(f"part-{number}", b"")
    counted = CountedStore(store)
    assert len(list(counted.list("part-"))) == objects
    assert (counted.requests, counted.listed) == (requests, objects)


def test_each_reading_and_each_look_is_a_request_and_gives_what_the_store_gives() -> None:
    store = MemoryStore()
    store.put("part-1", b"octets")
    counted = CountedStore(store)
    assert b"".join(counted.read("part-1", 2, 3)) == b"tet"
    assert counted.size("part-1") == 6
    assert counted.uri("part-1") == store.uri("part-1")
    assert (counted.requests, counted.listed) == (2, 0)
