"""What ends a session early, and what shows that it goes on."""

from __future__ import annotations

import pytest

from ingest.errors import LeaseLost, SessionStopped
from ingest.intake.stop import SessionStop, Shutdown
from ingest.model import Lease

LEASE = Lease("mb-a", "pop.example.org|default", "id")


class Session:
    """A session's stop, and all that it depends on."""

    def __init__(self) -> None:
        self.lost = False
        self.beats = 0
        self.shutdown = Shutdown()
        self.stop = SessionStop(LEASE, lambda _: self.lost, self.shutdown, self.beat)

    def beat(self) -> None:
        self.beats += 1


def test_every_check_shows_that_the_worker_is_at_work() -> None:
    session = Session()
    for _ in range(3):
        session.stop.check()
    assert session.beats == 3


def test_a_lost_lease_ends_the_session() -> None:
    session = Session()
    session.lost = True
    with pytest.raises(LeaseLost, match="mb-a"):
        session.stop.check()


def test_a_shutdown_lets_the_session_finish_what_it_has_within_the_grace_period() -> None:
    session = Session()
    session.shutdown.begin(60)
    assert session.stop.closing
    session.stop.check()
    session.shutdown.begin(0)
    with pytest.raises(SessionStopped, match="grace period"):
        session.stop.check()


def test_a_shutdown_that_is_begun_again_never_ends_later() -> None:
    session = Session()
    session.shutdown.begin(0)
    session.shutdown.begin(60)
    with pytest.raises(SessionStopped):
        session.stop.check()
