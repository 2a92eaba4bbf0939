"""A store that takes longer than the server waits for a command."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import TypeVar

import pytest

from ingest.errors import ConnectionFailed
from ingest.intake import session
from ingest.model import Mailbox
from ingest.transport import maildrop
from ingest.transport.deadlines import Deadlines
from ingest.transport.sign_in import open_maildrop
from tests.fakes import world as fakes
from tests.fakes.pop3_server import PASSWORD, USERNAME, Faults, Message, Pop3Server
from tests.fakes.world import World

Answer = TypeVar("Answer")

AUTOLOGOUT = 0.5
STORE_SECONDS = 1.5


class Slow(ThreadPoolExecutor):
    """Takes its time."""

    def submit(
        self, fn: Callable[..., Answer], /, *args: object, **kwargs: object
    ) -> Future[Answer]:
        def run() -> Answer:
            time.sleep(STORE_SECONDS)
            return fn(*args, **kwargs)

        return super().submit(run)


@pytest.fixture
def slow_world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(fakes, "Inline", Slow)
    monkeypatch.setattr(session, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(maildrop, "KEEP_ALIVE_SECONDS", 0.1)
    return World()


def hold_session(world: World, server: Pop3Server) -> int:
    """One session with a real server; how many messages it deleted."""
    mailbox = Mailbox(
        id=world.mailbox.id,
        name="inbox",
        host=server.host,
        port=server.port,
        tls="none",
        username=USERNAME,
        password="env:UNUSED",
    )

    def open_it() -> maildrop.Pop3Maildrop:
        return open_maildrop(mailbox, PASSWORD, deadlines=Deadlines(), stop=lambda: None)

    world.server = SimpleNamespace(open=open_it)  # type: ignore[assignment]  # all that a session needs
    return world.session().deleted


def messages() -> list[Message]:
    return [Message(f"u{number}", b"Subject: %d\r\n\r\n\r\n" % number) for number in range(5)]


def test_a_slow_store_costs_no_delete(slow_world: World) -> None:
    with Pop3Server(messages(), faults=Faults(autologout=AUTOLOGOUT)) as server:
        assert hold_session(slow_world, server) == 5
        assert server.maildrop == []
        assert server.sessions == 1


def test_without_a_sign_of_life_the_server_would_not_have_waited(
    slow_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maildrop, "KEEP_ALIVE_SECONDS", 60)
    with Pop3Server(messages(), faults=Faults(autologout=AUTOLOGOUT)) as server:
        with pytest.raises(ConnectionFailed):
            hold_session(slow_world, server)
        assert len(server.maildrop) == 5
    assert len(slow_world.state.kept.outbox) == 5  # and yet all is ours
