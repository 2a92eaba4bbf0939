"""Workers that are told to end, run out of descriptors, or get too many hints, or none."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from celery import Celery

from ingest.cli.sign_in import register
from ingest.model import Mailbox
from ingest.state.connect import broker_url, connect
from ingest.state.registry import new_mailbox_id
from tests import messages
from tests.e2e.fleet import Fleet, Running, fleet, stored
from tests.fakes.pop3_server import PASSWORD, USERNAME, Faults, Message, Pop3Server
from tests.faults.inside import opened
from tests.faults.invariants import (
    sha256,
)
from tests.servers.valkey import Valkey

pytestmark = pytest.mark.exam

GRACE = 4  # seconds
ENDED = GRACE + 3.5  # a session looks every second, and a process takes a moment to end

# The fake server sends a hundred octets a second where it trickles.
IN_TIME = b"Subject: slow\r\n\r\n" + b"x" * 150 + b"\r\n"
NEVER = b"Subject: slower\r\n\r\n" + b"x" * 3000 + b"\r\n"


@pytest.fixture
def ours(tmp_path: Path, valkey: Valkey) -> Iterator[Fleet]:
    settings = {
        "INGEST_GRACE_SECONDS": str(GRACE),
        "INGEST_BATCH_MESSAGES": "1",
        # Nobody waits for its end: a mailbox that is polled again was given back.
        "INGEST_LEASE_SECONDS": "600",
        "POP3_PASSWORD": PASSWORD,
    }
    with fleet(tmp_path, valkey.url, settings) as made:
        yield made


def maildrop_with(second: bytes) -> list[Message]:
    """Three messages."""
    return [
        Message("a", messages.small(1).octets),
        Message("b", second),
        Message("c", messages.small(2).octets),
    ]


def registered(ours: Fleet, *servers: Pop3Server) -> list[Mailbox]:
    """A mailbox for each of these, in one group."""
    with opened(ours) as application:
        application.prepare()
        mailboxes = [
            Mailbox(
                id=new_mailbox_id(),
                name=f"mailbox{server.port}",
                host="localhost",
                port=server.port,
                tls="none",
                username=USERNAME,
                password="env:POP3_PASSWORD",
            )
            for server in servers
        ]
        for mailbox in mailboxes:
            register(application, mailbox)
    return mailboxes


def begun(server: Pop3Server, message: int) -> bool:
    """Whether the server sends this message, or was asked to."""
    return f"RETR {message}" in server.commands()


def end(worker: Running, signals: Sequence[signal.Signals]) -> float:
    """Send it these, half a second between them; how many seconds it took to end by itself."""
    started = time.monotonic()
    for number in signals:
        worker.process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(0.5)
    worker.process.wait(60)
    assert worker.said("worker_stopped")
    return time.monotonic() - started


def assert_all_is_ours(ours: Fleet, drops: Mapping[Pop3Server, Sequence[Message]]) -> None:
    """Wait until the servers are empty and all is published, once and by one id."""
    expected = sorted(sha256(octets) for drop in drops.values() for _, octets in drop)
    ours.wait(lambda: not any(server.maildrop for server in drops), 40)
    ours.wait(lambda: len(ours.events()) >= len(expected), 20)
    assert sorted(event.data.sha256 for event in ours.events()) == expected
    with ours.store() as store:
        records = stored(store)
    assert {record.sha256 for record in records} == set(expected)
    assert {event.id for record in records for event in record.events} == {
        event.id for event in ours.events()
    }


@pytest.mark.timeout(120)
def test_a_worker_told_to_end_takes_in_the_message_that_comes_in_time(ours: Fleet) -> None:
    everything = maildrop_with(IN_TIME)
    with Pop3Server(everything, faults=Faults(trickle="RETR 2")) as server:
        registered(ours, server)
        ours.start("beat")
        worker = ours.start("worker")
        ours.wait(lambda: begun(server, 2))
        assert end(worker, [signal.SIGTERM]) < ENDED
        assert server.sessions == 1
        assert server.deleted[:2] == ["a", "b"]
        ours.start("worker")
        assert_all_is_ours(ours, {server: everything})


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "signals",
    [
        [signal.SIGTERM],
        [signal.SIGTERM] * 8,  # the last one as the grace period ends
        [signal.SIGTERM, signal.SIGQUIT],
        [signal.SIGINT, signal.SIGINT],
        [signal.SIGQUIT, signal.SIGQUIT],
    ],
    ids=lambda signals: " ".join(number.name for number in signals),
)
@pytest.mark.parametrize(
    "faults", [Faults(trickle="RETR 2"), Faults(stall="RETR 2")], ids=["trickles", "stalls"]
)
def test_a_worker_told_to_end_drops_the_message_that_does_not_come_in_time(
    ours: Fleet, faults: Faults, signals: Sequence[signal.Signals]
) -> None:
    everything = maildrop_with(NEVER)
    with Pop3Server(everything, faults=faults) as server:
        registered(ours, server)
        ours.start("beat")
        worker = ours.start("worker")
        ours.wait(lambda: begun(server, 2))
        assert end(worker, signals) < ENDED
        assert server.sessions == 1
        assert "QUIT" not in server.commands()
        assert [message.unique_id for message in server.maildrop] == ["a", "b", "c"]
        server.faults = Faults()
        ours.start("worker")
        assert_all_is_ours(ours, {server: everything})


@pytest.mark.timeout(120)
def test_a_worker_told_to_end_ends_each_of_its_sessions_by_what_comes_in_time(ours: Fleet) -> None:
    with contextlib.ExitStack() as stack:
        drops = {
            stack.enter_context(
                Pop3Server(maildrop_with(second), faults=Faults(trickle="RETR 2"))
            ): maildrop_with(second)
            for second in (IN_TIME, NEVER, IN_TIME, NEVER, NEVER)
        }
        registered(ours, *drops)
        ours.start("beat")
        worker = ours.start("worker")
        ours.wait(lambda: all(begun(server, 2) for server in drops))
        assert end(worker, [signal.SIGTERM]) < ENDED
        for server, drop in drops.items():
            finished = drop[1].octets == IN_TIME
            assert ("QUIT" in server.commands(1)) == finished
            assert server.deleted == (["a", "b", "c"] if finished else [])
            server.faults = Faults()
        ours.start("worker")
        assert_all_is_ours(ours, drops)


HINTS = ("poll", "tick", "relay", "read_back", "sweep")


def hint_ten_times(ours: Fleet, group: str) -> None:
    """Send each task as a clock gone mad would."""
    with Celery(broker=broker_url(ours.settings.redis_url)) as app:
        for _ in range(10):
            for task in HINTS:
                lane = task if task in {"poll", "relay"} else "maintenance"
                app.send_task(task, (group,) if task == "poll" else (), queue=lane, expires=30)


def assert_one_session_at_a_time(server: Pop3Server) -> None:
    last = 0
    open_now = set[int]()
    for entry in server.journal:
        if entry.session > last:
            assert not open_now, f"session {entry.session} began during {open_now}"
            last = entry.session
            open_now.add(last)
        if entry.kind == "closed":
            open_now.discard(entry.session)
    assert last


@pytest.mark.timeout(120)
def test_hints_that_come_ten_times_to_two_workers_give_one_session_and_one_event(
    ours: Fleet,
) -> None:
    everything = maildrop_with(IN_TIME)
    with (
        Pop3Server(everything, faults=Faults(trickle="RETR 2")) as one,
        Pop3Server(everything, faults=Faults(trickle="RETR 2")) as other,
    ):
        group = registered(ours, one, other)[0].group
        workers = [ours.start("worker") for _ in range(2)]
        ours.wait(lambda: all(worker.said("worker_started") for worker in workers))
        for _ in range(12):  # as the mailboxes fall due again and again
            hint_ten_times(ours, group)
            time.sleep(0.5)
        ours.wait(lambda: min(one.sessions, other.sessions) > 2)
        for server in (one, other):
            assert_one_session_at_a_time(server)
            assert server.deleted == ["a", "b", "c"]
        assert_all_is_ours(ours, {one: everything, other: everything})


@pytest.mark.timeout(120)
def test_hints_that_are_lost_are_given_again(ours: Fleet) -> None:
    everything = maildrop_with(IN_TIME)
    with (
        Pop3Server(everything) as server,
        contextlib.closing(connect(ours.settings.redis_url)) as client,
    ):
        registered(ours, server)
        ours.start("beat")
        ours.launch([sys.executable, "-m", "ingest.cli", "worker", "--lanes", "maintenance"])
        for _ in range(3):
            ours.wait(lambda: client.delete("poll") == 1, 30)  # its hints, nobody takes them
            client.delete("maintenance", "relay")
        assert server.sessions == 0
        ours.start("worker")
        assert_all_is_ours(ours, {server: everything})
