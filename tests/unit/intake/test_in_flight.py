"""Many sessions and a store that takes its time: what is held in memory meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from types import MethodType
from typing import Any

import pytest

from ingest.errors import SessionStopped
from ingest.intake.batch import Batch
from ingest.intake.in_flight import MOST_IN_FLIGHT, InFlight
from tests.fakes.world import Go, Inline, World

SESSIONS = 3
MESSAGES = 12


class SlowStore(Executor):
    """Writes nothing before `write` is called."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(  # type: ignore[override]  # as much of it as sessions use
        self, do: Callable[..., Any], /, *arguments: object
    ) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: do(*arguments)))
        return future

    def write(self) -> None:
        """The oldest one."""
        future, do = self.waiting.pop(0)
        future.set_result(do())


def world(store: SlowStore, in_flight: InFlight) -> World:
    made = World(batch_messages=1)
    made.committer, made.in_flight = store, in_flight
    for number in range(MESSAGES):
        made.deliver(f"Subject: {number}\r\n\r\n".encode())
    return made


@pytest.mark.parametrize(
    ("most", "held"),
    [(100, SESSIONS * (MOST_IN_FLIGHT + 1)), (2, 2 + SESSIONS)],
    ids=["each session has its own limit", "and all sessions have one together"],
)
def test_sessions_hold_no_more_batches_than_keep_the_store_busy(most: int, held: int) -> None:
    store, in_flight = SlowStore(), InFlight(most)
    worlds = [world(store, in_flight) for _ in range(SESSIONS)]
    with ThreadPoolExecutor(SESSIONS) as pool:
        sessions = [pool.submit(each.session) for each in worlds]
        seen, deadline = 0, time.monotonic() + 60
        while not all(session.done() for session in sessions):
            time.sleep(0.03)  # whoever may retrieve does
            seen = max(seen, len(store.waiting))
            if store.waiting:
                store.write()
            assert time.monotonic() < deadline
    assert [session.result().deleted for session in sessions] == [MESSAGES] * SESSIONS
    for each in worlds:
        each.assert_all_is_published()
    assert held - SESSIONS < seen <= held
    assert not in_flight.crowded


def test_a_batch_counts_until_it_is_written_and_its_session_has_taken_it() -> None:
    in_flight, writing = InFlight(0), Future[None]()
    crowded = []
    for happens in (
        in_flight.add,
        lambda: in_flight.release(writing),
        lambda: writing.set_result(None),
        in_flight.add,
        lambda: in_flight.release(writing),
    ):
        happens()
        crowded.append(in_flight.crowded)
    assert crowded == [True, True, False, True, False]


def test_a_batch_is_taken_before_the_next_message_which_may_take_hours() -> None:
    store = SlowStore()
    made = world(store, InFlight(32))
    made.batch_messages = 2
    published: list[int] = []

    class Writing(Go):
        def check(self) -> None:
            """While a message comes, the store writes."""
            published.append(len(made.state.kept.outbox))
            while store.waiting:
                store.write()

    made.stop = Writing()
    assert made.session().deleted == MESSAGES
    assert published[:7] == [0, 0, 0, 2, 2, 4, 4]


def test_a_session_that_breaks_leaves_nothing_behind_that_counts() -> None:
    store, in_flight = SlowStore(), InFlight(0)
    made = world(store, in_flight)

    class Breaking(Go):
        def check(self) -> None:
            if len(store.waiting) == 1:
                raise SessionStopped("enough")

    made.stop = Breaking()
    made.in_flight = in_flight
    with pytest.raises(SessionStopped):
        made.session()
    crowded = [in_flight.crowded]
    store.write()
    assert [*crowded, in_flight.crowded] == [True, False]


def test_a_batch_that_is_written_keeps_no_octets_of_its_messages() -> None:
    written: list[Batch] = []

    class Noting(Inline):
        def submit(  # type: ignore[override]  # as much of it as sessions use
            self, do: Callable[..., Any], write: MethodType, /
        ) -> Future[Any]:
            batch = write.__self__
            assert isinstance(batch, Batch)
            written.append(batch)
            return super().submit(do, write)

    made = world(SlowStore(), InFlight(1))
    made.committer = Noting()
    assert made.session().deleted == MESSAGES
    made.assert_all_is_published()
    assert [member.skeleton for batch in written for member in batch.members] == [None] * MESSAGES
