"""The octets that sessions have yet to retrieve, for those who add workers."""

from __future__ import annotations

import pytest

from ingest.errors import ConnectionFailed
from ingest.intake.attempts import Attempts
from ingest.intake.queue import Queue, SessionLimits
from ingest.intake.report import SessionReport
from ingest.model import Listed
from ingest.observability import metrics
from tests.fakes.mail_values import mailbox
from tests.fakes.memory_state import MemoryLedger, MemoryState
from tests.fakes.world import World


def waiting() -> float:
    (sample,) = (each for family in metrics.waiting_octets.collect() for each in family.samples)
    return sample.value


def queue(*octets: int, messages: int = 1000, limit: int = 10**9) -> Queue:
    listed = [Listed(number, size, f"u{number}") for number, size in enumerate(octets, 1)]
    state = MemoryState()
    attempts = Attempts(MemoryLedger(state), state.lease(mailbox("a")))
    limits = SessionLimits(messages, limit, 3600)
    return Queue(listed, attempts, limits, lambda: False, SessionReport(mailbox="mb-a"))


def test_octets_wait_until_their_message_was_dealt_with() -> None:
    before = waiting()
    asked = queue(100, 20, 3)
    seen = []
    for _ in asked:
        seen.append(waiting() - before)
        asked.finish()
    assert seen == [123, 23, 3]
    assert waiting() == before


@pytest.mark.parametrize("finished", [0, 1])
def test_what_a_broken_session_leaves_waits_no_more(finished: int) -> None:
    before = waiting()
    asked = queue(100, 20, 3)
    started = iter(asked)
    for _ in range(finished):
        next(started)
        asked.finish()
    assert waiting() - before == (23 if finished else 123)
    asked.close()
    asked.close()
    assert waiting() == before


def test_no_session_has_more_waiting_than_it_may_start_whatever_a_server_lists() -> None:
    before = waiting()
    asked = queue(2**80, 2**80, limit=1000)
    assert waiting() - before == 1000
    for _ in asked:
        asked.finish()
    assert waiting() == before


def test_messages_past_those_that_a_session_may_start_do_not_wait_in_it() -> None:
    before = waiting()
    asked = queue(100, 20, 3, messages=2)
    assert waiting() - before == 120
    for _ in asked:
        asked.finish()
    assert waiting() == before


def test_nothing_waits_after_a_session_that_left_messages_for_the_next() -> None:
    before = waiting()
    world = World(session_messages=1)
    for number in range(3):
        world.deliver(f"Subject: {number}\r\n\r\n".encode())
    assert world.session().left == 2
    assert waiting() == before


def test_nothing_waits_after_a_session_that_broke() -> None:
    before = waiting()
    world = World()
    for number in range(3):
        world.deliver(f"Subject: {number}\r\n\r\n".encode())
    world.server.messages[2].breaks = True
    with pytest.raises(ConnectionFailed):
        world.session()
    assert waiting() == before
