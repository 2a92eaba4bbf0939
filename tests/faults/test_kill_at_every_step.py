"""A worker that dies anywhere, and a server, a store or a Redis that fails anywhere."""

from __future__ import annotations

import base64
import random
from contextlib import suppress

import pytest

from ingest.errors import (
    ConnectionFailed,
    LeaseLost,
    StateUnavailable,
    StoreUnavailable,
)
from tests.fakes.world import Killed, World

_ATTACHMENT = base64.encodebytes(random.Random(1).randbytes(6000)).replace(b"\n", b"\r\n")

MESSAGES = [
    b"Subject: one\r\nDate: Thu, 1 Jan 2026 10:00:00 +0000\r\n\r\nplain\r\n",
    b"Subject: two\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
    b"--b\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + _ATTACHMENT
    + b"--b--\r\n",
    b"Subject: three\r\n\r\n" + b"x" * 70 + b"\r\n",
    b"no header at all\r\n",
    b"Subject: five\r\n\r\n.\r\n..\r\n",
]


def world(**options: int | str) -> World:
    made = World(**options)  # type: ignore[arg-type]  # delete is a word, the limits are numbers
    made.server.chunk = 3000
    for message in MESSAGES:
        made.deliver(message)
    return made


def steps_of_a_quiet_session() -> list[str]:
    quiet = world()
    quiet.session()
    steps = list(quiet.steps)
    quiet.assert_all_is_published()
    assert not quiet.server.messages
    return steps


STEPS = steps_of_a_quiet_session()


def test_a_quiet_session_passes_every_arrow() -> None:
    assert {
        "connect",
        "listing",
        "redis known",
        "redis count_attempts",
        "retrieve",
        "octets",
        "store create",
        "store write",
        "store commit",
        "store put",
        "redis commit",
        "delete",
        "quit",
        "quit answered",
        "redis settle",
    } <= set(STEPS)


@pytest.mark.parametrize("at", range(1, len(STEPS) + 1), ids=lambda at: f"{at}-{STEPS[at - 1]}")
def test_a_worker_killed_at_any_step_loses_nothing_and_publishes_once(at: int) -> None:
    struck = world()
    struck.kill_at = at
    with pytest.raises(Killed):
        struck.session()
    struck.assert_nothing_is_lost()
    struck.sessions_until_done()
    struck.assert_all_is_published()
    assert not struck.server.messages


@pytest.mark.parametrize("second", range(1, len(STEPS) + 1, 3))
def test_a_worker_killed_twice_loses_nothing_and_publishes_once(second: int) -> None:
    struck = world()
    for at in (len(STEPS) // 2, second):
        struck.steps.clear()
        struck.kill_at = at
        try:
            struck.session()
        except Killed:
            struck.assert_nothing_is_lost()
    struck.sessions_until_done()
    struck.assert_all_is_published()
    assert not struck.server.messages


@pytest.mark.parametrize("at", range(1, len(STEPS) + 1), ids=lambda at: f"{at}-{STEPS[at - 1]}")
def test_a_zombie_that_wakes_at_any_step_after_its_lease_changes_nothing(at: int) -> None:
    """While the first worker sleeps at the step, another one takes the mailbox and finishes."""
    struck = world()

    def sleep(_: str) -> None:
        if len(struck.steps) == at:
            struck.on_step = lambda _: None
            struck.session()

    struck.on_step = sleep
    with suppress(LeaseLost):
        struck.session()
    struck.assert_nothing_is_lost()
    struck.assert_nothing_is_seen_twice()
    struck.sessions_until_done()
    struck.assert_all_is_published()


FAILURES = {
    "redis": StateUnavailable("Redis is away"),
    "store": StoreUnavailable("the store is away"),
}


@pytest.mark.parametrize("at", range(1, len(STEPS) + 1), ids=lambda at: f"{at}-{STEPS[at - 1]}")
def test_a_failure_at_any_step_ends_the_session_and_convicts_no_other_message(at: int) -> None:
    failing = world()
    error = FAILURES.get(STEPS[at - 1].split()[0], ConnectionFailed("the line is cut"))

    def fail(_: str) -> None:
        if len(failing.steps) == at:
            raise error

    failing.on_step = fail
    with pytest.raises(type(error)):
        failing.session()
    failing.assert_nothing_is_lost()
    if STEPS[at - 1] not in {"connect", "quit answered", "redis settle", "redis forget"}:
        assert failing.server.journal[-1] == ("dropped", "")
        assert not failing.server.deleted()
    if not isinstance(error, StateUnavailable):
        counts = failing.state.kept.attempts.get(failing.mailbox.id, {}).values()
        assert sum(counts) <= (STEPS[at - 1] in {"retrieve", "octets"})
    failing.on_step = lambda _: None
    failing.sessions_until_done()
    failing.assert_all_is_published()


@pytest.mark.parametrize("at", range(1, len(STEPS) + 1, 2))
def test_a_redis_that_was_emptied_loses_no_message_and_changes_no_id(at: int) -> None:
    struck = world()
    struck.kill_at = at
    with pytest.raises(Killed):
        struck.session()
    seen = {one.event.id for one in struck.state.kept.outbox}
    struck.state.lose_everything()
    struck.state.kept.epoch = True
    struck.sessions_until_done()
    struck.assert_nothing_is_lost()
    seen |= {one.event.id for one in struck.state.kept.outbox}
    ids = {event.id for record in struck.records() for event in record.events}
    assert seen <= ids
    assert len(ids) == len(MESSAGES)


def test_a_redis_rolled_back_before_the_session_loses_no_message_and_changes_no_id() -> None:
    struck = world()
    before = struck.state.snapshot()
    struck.server.ignore_deletes = True
    struck.session()
    first = {one.event.id for one in struck.state.kept.outbox}
    struck.state.roll_back(before)
    struck.server.ignore_deletes = False
    struck.sessions_until_done()
    assert {one.event.id for one in struck.state.kept.outbox} == first
    struck.assert_nothing_is_lost()
