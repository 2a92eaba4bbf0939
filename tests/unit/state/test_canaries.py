"""The canaries in a real Valkey."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from ingest.state.canaries import CanaryState


@pytest.fixture
def state(client: Redis) -> CanaryState:
    state = CanaryState(client)
    state.add({"mb-a": "a.example", "mb-b": "b.example"})
    return state


def test_a_turn_is_taken_once_and_comes_again(state: CanaryState, client: Redis) -> None:
    assert sorted(state.idle(state.hosts())) == ["mb-a", "mb-b"]
    assert state.take_turn("mb-a", 300)
    assert not CanaryState(client).take_turn("mb-a", 300)
    assert state.idle(state.hosts()) == ["mb-b"]
    assert client.ttl("mail-ingest:canaries:turn:mb-a") == 300
    state.postpone("mb-a", 3600)
    assert client.ttl("mail-ingest:canaries:turn:mb-a") == 3600
    client.delete("mail-ingest:canaries:turn:mb-a")  # as after that time
    assert state.take_turn("mb-a", 300)


def test_nobody_has_a_turn_where_there_are_no_canaries(client: Redis) -> None:
    state = CanaryState(client)
    assert state.idle(state.hosts()) == []
    assert state.overdue(state.now()) == []


def test_a_probe_comes_home_once(state: CanaryState) -> None:
    state.expect("mb-a", "p", 100.0)
    assert state.awaited() == {"mb-a": 1}
    assert state.come_home("mb-a", "p", 107.0) == "home"
    assert state.come_home("mb-a", "p", 108.0) == "stray"
    assert state.times().home == {"mb-a": 107.0}
    assert not state.awaited()


def test_a_probe_is_awaited_by_its_own_mailbox(state: CanaryState) -> None:
    state.expect("mb-a", "p", 100.0)
    assert state.come_home("mb-b", "p", 107.0) == "stray"
    assert state.awaited() == {"mb-a": 1}


def test_a_probe_that_was_not_sent_is_not_awaited(state: CanaryState) -> None:
    state.expect("mb-a", "p", 100.0)
    state.not_sent("mb-a", "p")
    assert state.overdue(200.0) == []
    assert state.come_home("mb-a", "p", 107.0) == "stray"


def test_a_probe_is_missing_once_and_may_come_home_late(state: CanaryState, client: Redis) -> None:
    state.expect("mb-a", "early", 100.0)
    state.expect("mb-b", "young", 300.0)
    assert state.overdue(200.0) == ["mb-a"]
    assert CanaryState(client).overdue(200.0) == []
    assert state.come_home("mb-a", "early", 900.0) == "late"
    assert state.come_home("mb-a", "early", 901.0) == "stray"
    assert state.times().home == {"mb-a": 900.0}


def test_a_probe_is_missing_once_though_two_workers_look_at_the_same_moment(
    state: CanaryState, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    run = state._redis.run

    def outrun(*command: str | float) -> Any:  # noqa: ANN401 - Redis's reply
        if command[0] == "ZADD":
            told.extend(CanaryState(client).overdue(200.0))
        return run(*command)

    state.expect("mb-a", "p", 100.0)
    monkeypatch.setattr(state._redis, "run", outrun)
    told.extend(state.overdue(200.0))
    assert told == ["mb-a"]


def test_a_probe_that_stays_missing_is_forgotten_after_a_week(
    state: CanaryState, client: Redis
) -> None:
    state.expect("mb-a", "p", 100.0)
    state.overdue(200.0)
    state.overdue(200.0 + 7 * 86400 - 1)
    assert client.zcard("mail-ingest:canaries:missing") == 1
    state.overdue(200.0 + 7 * 86400)
    assert client.zcard("mail-ingest:canaries:missing") == 0


def test_of_a_canary_that_is_dropped_nothing_is_left(state: CanaryState, client: Redis) -> None:
    for mailbox in ("mb-a", "mb-b"):
        state.expect(mailbox, "lost", 100.0)
        state.overdue(200.0)
        state.expect(mailbox, "p", 300.0)
        state.sent(mailbox, 300.0)
        state.come_home(mailbox, "x", 310.0)
    state.drop("mb-a")
    assert state.hosts() == {"mb-b": "b.example"}
    assert state.awaited() == {"mb-b": 1}
    assert state.times().sent == {"mb-b": 300.0}
    assert client.zcard("mail-ingest:canaries:missing") == 1
