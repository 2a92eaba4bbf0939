"""The brake: pulled by people and by numbers, released by people."""

from __future__ import annotations

import time

import pytest
from redis import Redis

from ingest.state import brake as brake_module
from ingest.state.brake import Brake


@pytest.fixture
def brake(client: Redis) -> Brake:
    return Brake(client)


def hours_ago(client: Redis, hours: int, deletes: int) -> None:
    client.hset("mail-ingest:deletes", str(int(time.time()) // 3600 - hours), deletes)


def test_it_is_off_until_somebody_pulls_it(brake: Brake) -> None:
    assert brake.reason() == brake.allow(5) == ""
    brake.pull("the bucket looks wrong")
    brake.pull("another reason")
    assert brake.reason() == brake.allow(5) == "the bucket looks wrong"
    assert brake.release() == "the bucket looks wrong"
    assert brake.reason() == brake.allow(5) == ""
    assert brake.release() == ""


def test_more_deletes_than_ten_times_the_busiest_hour_pull_it(client: Redis, brake: Brake) -> None:
    hours_ago(client, 30, 2_000)
    hours_ago(client, 2, 5_000)
    assert brake.allow(50_000) == ""
    reason = "50001 deletes within the hour; the most of any in the last week were 5000"
    assert brake.allow(1) == reason
    assert brake.reason() == reason


def test_a_released_brake_is_not_pulled_at_once_by_the_same_numbers(
    client: Redis, brake: Brake
) -> None:
    hours_ago(client, 30, 1)
    assert brake.allow(20_000)
    brake.release()
    assert brake.allow(20_000) == ""


def test_a_new_fleet_and_a_small_one_have_no_unusual_number(client: Redis, brake: Brake) -> None:
    assert brake.allow(1_000_000) == ""
    client.delete("mail-ingest:deletes")
    hours_ago(client, 30, 3)
    assert brake.allow(9_000) == ""


def test_hours_of_more_than_a_week_ago_are_forgotten(client: Redis, brake: Brake) -> None:
    hours_ago(client, brake_module.HOURS_KEPT + 1, 1_000_000)
    hours_ago(client, 30, 1)
    assert brake.allow(20_000)
    assert client.hlen("mail-ingest:deletes") == 1
