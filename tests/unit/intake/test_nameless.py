"""Messages that have no unique-id: each has its turn, and none kills for ever."""

from __future__ import annotations

import pytest

from ingest.errors import SessionError
from ingest.intake.attempts import Attempts
from ingest.model import Listed
from tests.fakes.mail_values import mailbox
from tests.fakes.memory_state import MemoryLedger, MemoryState
from tests.fakes.world import World

NAMELESS, NEIGHBOUR = Listed(1, 100, None), Listed(2, 100, None)


@pytest.fixture
def state() -> MemoryState:
    return MemoryState()


def attempts(state: MemoryState) -> Attempts:
    """Those of a new session."""
    return Attempts(MemoryLedger(state), state.lease(mailbox("a")))


def test_one_that_kills_again_and_again_is_suspected_and_stored_unparsed(
    state: MemoryState,
) -> None:
    for _ in range(3):
        attempts(state).count([NAMELESS])
    session = attempts(state)
    assert session.suspicion([NAMELESS, NEIGHBOUR]).suspects == [NAMELESS]
    session.count([NAMELESS, NEIGHBOUR])
    assert [session.care(one) for one in (NAMELESS, NEIGHBOUR)] == ["raw", "parse"]


@pytest.mark.parametrize("error", [None, SessionError("cut before QUIT")])
def test_what_takes_the_place_of_one_that_was_committed_is_innocent(
    error: SessionError | None, state: MemoryState
) -> None:
    for _ in range(3):
        attempts(state).count([NAMELESS])
    session = attempts(state)
    session.count([NAMELESS])
    session.committed(NAMELESS)
    if error:
        session.end_by(error, [])
    else:
        session.finish([])
    assert attempts(state).suspicion([NAMELESS]).innocent == [NAMELESS]


@pytest.mark.parametrize("delete", ["never", "after 7d"])
def test_all_that_stay_are_taken_in_though_a_session_ends_before_it_is_through(
    delete: str,
) -> None:
    world = World(delete=delete, session_messages=2)
    for number in range(6):
        world.deliver(b"Subject: %d\r\n\r\n\r\n" % number, None)
    for _ in range(100):
        world.session()
    world.assert_all_is_published()
    assert not any(world.state.kept.attempts.values())
