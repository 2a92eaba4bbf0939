"""A session whose batches take long to be written."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TypeVar

import pytest

from ingest.errors import ConnectionFailed, StoreUnavailable
from ingest.intake import session
from tests.fakes import world as fakes
from tests.fakes.world import World

Answer = TypeVar("Answer")


class Slow(Executor):
    """Runs nothing before `catch_up`."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def submit(
        self, fn: Callable[..., Answer], /, *args: object, **kwargs: object
    ) -> Future[Answer]:
        future: Future[Answer] = Future()

        def run() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 - an executor hands on whatever was raised
                future.set_exception(error)

        self.waiting.append(run)
        return future

    def catch_up(self) -> None:
        for run in self.waiting:
            run()
        self.waiting.clear()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    """What writes the batches of a world."""
    executor = Slow()
    monkeypatch.setattr(fakes, "Inline", lambda: executor)
    monkeypatch.setattr(session, "_LOOK_SECONDS", 0)
    return executor


@pytest.fixture
def world(slow: Slow) -> World:
    """Five messages whose batches are written once the server heard of us three times."""
    world = World()
    for number in range(5):
        world.deliver(b"Subject: %d\r\n\r\n\r\n" % number)

    def catch_up(step: str) -> None:
        if step == "noop" and world.steps.count("noop") == 3:
            slow.catch_up()

    world.on_step = catch_up
    return world


def test_a_session_is_kept_alive_while_its_batches_are_written(world: World) -> None:
    assert world.session().deleted == 5
    assert world.steps.count("noop") == 3
    assert world.steps.index("noop") < world.steps.index("redis commit")
    world.assert_all_is_published()


def test_nothing_is_deleted_when_a_batch_that_took_long_is_not_written(world: World) -> None:
    world.store.fail("put", StoreUnavailable("the store is away"))
    with pytest.raises(StoreUnavailable):
        world.session()
    assert world.server.deleted() == []
    world.assert_nothing_is_lost()


def test_what_is_stored_becomes_ours_though_the_connection_broke_meanwhile(
    world: World, slow: Slow
) -> None:
    def cut(step: str) -> None:
        if step == "noop":
            slow.catch_up()
            world.server.lose_quit_answer = world.server.ignore_deletes = True
            raise ConnectionFailed("the server closed the connection without an answer to NOOP")

    world.on_step = cut
    with pytest.raises(ConnectionFailed, match="QUIT"):
        world.session()
    assert len(world.server.messages) == 5
    world.assert_all_is_published()
