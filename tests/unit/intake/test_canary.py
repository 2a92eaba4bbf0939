"""Probes are sent in turn, awaited, and measured once, on what a real Valkey keeps of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
import pytest
from redis import Redis
from structlog.testing import capture_logs

from ingest.errors import (
    ConnectionFailed,
    MailboxUnreadable,
    RegistryError,
    SignInRefused,
    StateUnavailable,
)
from ingest.intake.canary import EVERY_SECONDS, MISSING_SECONDS, Canaries
from ingest.intake.relay import OutboxEvent
from ingest.model import Mailbox, Submission
from ingest.observability import metrics
from ingest.state.canaries import CanaryState
from ingest.state.secrets import Keyring, new_key
from tests.fakes.mail_values import mailbox
from tests.servers.valkey import valkey_client

SUBMISSION = Submission(
    host="smtp.example.org", port=587, sender="p@a.example", recipient="c@b.example"
)
HOST = "pop.canary.example"


class Mailboxes:
    """A registry in a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[str, Mailbox] = {}

    def get(self, name_or_id: str) -> Mailbox:
        if name_or_id not in self.kept:
            raise RegistryError(f"there is no mailbox {name_or_id!r}")
        return self.kept[name_or_id]

    def update(self, mailbox: Mailbox, *, seen: Mailbox) -> Mailbox:
        raise NotImplementedError


class World:
    """Canaries of one process; another process has the same Redis."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        self.mailboxes = Mailboxes()
        self.state = CanaryState(client)
        self.submitted: list[bytes] = []
        self.failure: Exception | None = None
        self.keyring = Keyring([new_key()])
        self.canaries = self.process()
        self.add(canary())

    def process(self) -> Canaries:
        return Canaries(self.mailboxes, CanaryState(self.client), self.keyring, self._submit)

    def add(self, *mailboxes: Mailbox) -> None:
        self.mailboxes.kept |= {each.id: each for each in mailboxes}
        self.canaries.add(mailboxes)

    def probe(self) -> str:
        """The id of the probe that was sent last."""
        found = re.search(rb"v1 ([0-9a-f]{32})", self.submitted[-1])
        assert found
        return found[1].decode()

    def turn_is_over(self, mailbox_id: str = "mb-a") -> None:
        """Let it be five minutes later."""
        self.client.delete(f"mail-ingest:canaries:turn:{mailbox_id}")

    def all_are_older(self, seconds: float) -> None:
        """Let every probe that is under way have been sent so much earlier."""
        for member, _ in self.client.zscan_iter("mail-ingest:canaries:awaited"):
            self.client.zincrby("mail-ingest:canaries:awaited", -seconds, member)

    def _submit(self, mailbox: Mailbox, submission: Submission, message: bytes) -> None:
        assert (mailbox.canary, submission) == (SUBMISSION, SUBMISSION)
        if self.failure:
            raise self.failure
        self.submitted.append(message)


def canary(name: str = "a", host: str = HOST) -> Mailbox:
    return msgspec.structs.replace(mailbox(name, host=host), canary=SUBMISSION)


@pytest.fixture(scope="module")
def valkey() -> Iterator[Redis]:
    with valkey_client() as client:
        yield client


@pytest.fixture
def world(valkey: Redis) -> World:
    valkey.flushall()
    return World(valkey)


def arrival(probe: str, *, before: float = 0.0, mailbox_id: str = "mb-a") -> OutboxEvent:
    """The event of a probe that was sent so many seconds ago."""
    sent = f"2027-01-15T08:00:{before:06.3f}Z"
    json = f'{{"data":{{"mailbox":"{mailbox_id}","probe":{{"id":"{probe}","sent_at":"{sent}"}}}}}}'
    return OutboxEvent("1-0", "e", "t", json)


def counted(outcome: str, host: str = HOST) -> float:
    name = "mail_ingest_canary_probes_total"
    return metrics.registry.get_sample_value(name, {"provider": host, "outcome": outcome}) or 0


def observed(host: str = HOST) -> tuple[float, float]:
    """How many were measured, and their seconds together."""
    name = "mail_ingest_canary_seconds"
    count, total = (
        metrics.registry.get_sample_value(f"{name}_{suffix}", {"provider": host})
        for suffix in ("count", "sum")
    )
    return count or 0, total or 0


def shown(gauge: str, host: str = HOST) -> float | None:
    return metrics.canaries.get_sample_value(
        f"mail_ingest_canary_{gauge}_timestamp_seconds", {"provider": host}
    )


def test_a_probe_is_sent_in_its_turn_by_one_of_two_workers(world: World) -> None:
    before = counted("sent")
    assert world.canaries.due() == ["mb-a"]
    for process in (world.canaries, world.process()):
        process.take_turn("mb-a")
    assert len(world.submitted) == 1
    assert counted("sent") == before + 1
    assert world.canaries.due() == []
    assert world.client.ttl("mail-ingest:canaries:turn:mb-a") == EVERY_SECONDS
    world.turn_is_over()
    assert world.canaries.due() == ["mb-a"]


def test_a_probe_that_comes_home_is_measured_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.canaries.take_turn("mb-a")
    monkeypatch.setattr(CanaryState, "now", lambda _: 1_800_000_012.5)
    event = arrival(world.probe(), before=3.0)
    count, total = observed()
    home, stray = counted("home"), counted("stray")
    world.canaries.arrived(event)
    world.process().arrived(event)  # doubled on its way, or by the relay
    assert observed() == (count + 1, total + 9.5)
    assert (counted("home"), counted("stray")) == (home + 1, stray + 1)


def test_a_probe_that_is_not_home_in_time_is_missing_once_and_measured_if_it_comes(
    world: World,
) -> None:
    missing, late, count = counted("missing"), counted("late"), observed()[0]
    world.canaries.take_turn("mb-a")
    world.canaries.look()
    assert counted("missing") == missing
    world.all_are_older(MISSING_SECONDS)
    with capture_logs() as logs:
        world.canaries.look()
        world.process().look()
    assert [entry["event"] for entry in logs] == ["canary_missing"]
    assert counted("missing") == missing + 1
    world.canaries.arrived(arrival(world.probe()))
    assert (counted("late"), observed()[0]) == (late + 1, count + 1)


def test_what_was_never_sent_is_not_missed(world: World) -> None:
    failed, sent = counted("failed"), counted("sent")
    world.failure = ConnectionFailed("canary of mailbox mb-a: the connection was refused")
    with capture_logs() as logs:
        world.canaries.take_turn("mb-a")
    assert [(entry["event"], entry["code"]) for entry in logs] == [
        ("canary_not_sent", "connection")
    ]
    assert (counted("failed"), counted("sent")) == (failed + 1, sent)
    assert not world.state.awaited()
    assert not world.state.times().sent
    assert world.client.ttl("mail-ingest:canaries:turn:mb-a") == EVERY_SECONDS


def test_a_refused_password_is_not_tried_again_for_an_hour(world: World) -> None:
    world.failure = SignInRefused("no")
    world.canaries.take_turn("mb-a")
    assert world.client.ttl("mail-ingest:canaries:turn:mb-a") == 3600


def test_without_a_key_nothing_is_sent_and_it_is_said(world: World) -> None:
    failed = counted("failed")
    world.keyring = Keyring([])
    with capture_logs() as logs:
        world.process().take_turn("mb-a")
    assert [(entry["event"], entry["code"]) for entry in logs] == [("canary_not_sent", "settings")]
    assert counted("failed") == failed + 1


def test_a_bug_is_not_hidden_and_leaves_nothing_to_wait_for(world: World) -> None:
    world.failure = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        world.canaries.take_turn("mb-a")
    assert not world.state.awaited()


def test_a_redis_that_fails_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise StateUnavailable("away")

    monkeypatch.setattr(CanaryState, "expect", away)
    with pytest.raises(StateUnavailable):
        world.canaries.take_turn("mb-a")
    assert not world.submitted


def test_a_paused_canary_is_sent_nothing_and_stays_one(world: World) -> None:
    world.mailboxes.kept["mb-a"] = msgspec.structs.replace(canary(), paused="refused")
    world.canaries.take_turn("mb-a")
    assert not world.submitted
    assert world.state.hosts() == {"mb-a": HOST}


def test_a_mailbox_that_is_gone_or_no_canary_any_more_is_looked_after_no_longer(
    world: World,
) -> None:
    world.add(canary("b"))
    world.mailboxes.kept = {"mb-b": mailbox("b")}
    for mailbox_id in ("mb-a", "mb-b"):
        world.canaries.take_turn(mailbox_id)
    assert not world.submitted
    assert not world.state.hosts()


def test_a_canary_that_only_a_newer_worker_can_read_stays_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_tomorrow(_: str) -> Mailbox:
        raise MailboxUnreadable("mailbox mb-a has settings that this version can't read")

    monkeypatch.setattr(world.mailboxes, "get", of_tomorrow)
    with capture_logs() as logs:
        world.canaries.take_turn("mb-a")
    assert [line["event"] for line in logs] == ["canary_not_sent"]
    assert world.state.hosts() == {"mb-a": HOST}


def test_only_canaries_are_looked_after(world: World) -> None:
    world.canaries.add([mailbox("x")])
    assert world.state.hosts() == {"mb-a": HOST}
    assert world.canaries.recognition(mailbox("x")) is None
    assert world.canaries.recognition(canary())


def test_of_two_canaries_of_a_provider_the_one_behind_is_shown_and_none_that_is_gone(
    world: World,
) -> None:
    world.add(canary("b"), canary("c", host="pop.other.example"))
    for mailbox_id, sent, home in (("mb-a", 100, 90), ("mb-b", 200, 80), ("mb-c", 300, 300)):
        world.state.sent(mailbox_id, sent)
        world.state.expect(mailbox_id, "p", home)
        world.state.come_home(mailbox_id, "p", home)
    world.canaries.look()
    assert (shown("sent"), shown("home")) == (100, 80)
    assert shown("home", "pop.other.example") == 300
    assert counted("missing", "pop.other.example") == 0

    world.canaries.drop("mb-c")
    world.canaries.look()
    assert shown("home") == 80
    assert shown("home", "pop.other.example") is None


def test_an_event_of_a_canary_that_is_gone_is_measured_for_nobody(world: World) -> None:
    world.canaries.drop("mb-a")
    before = counted("stray"), observed()
    world.canaries.arrived(arrival("0" * 32))
    assert (counted("stray"), observed()) == before
