"""Outbox, brake and registry, on the Redis in memory: the tests that they pass on Valkey.

Those that change the stream behind the outbox's back use a few more commands of the client.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping

import pytest

from ingest.state.commands import Commands
from tests.simulation.redis_client import RedisClient
from tests.simulation.redis_server import RedisServer
from tests.unit.state.test_brake import *  # noqa: F403 - the tests themselves
from tests.unit.state.test_outbox import *  # noqa: F403
from tests.unit.state.test_registry import *  # noqa: F403

# It knows no key of a wrong type.
del test_a_key_of_somebody_else_is_an_error_and_no_endless_loop  # noqa: F821 - imported above


class Client(RedisClient):
    def xadd(self, key: str, fields: Mapping[str, str], id: str = "*") -> None:  # noqa: A002 - theirs
        flat = [text for pair in fields.items() for text in pair]
        self.execute_command("XADD", key, id, *flat)

    def hset(self, key: str, name: str, value: int) -> None:
        self.execute_command("HSET", key, name, value)

    def hlen(self, key: str) -> int:
        return len(self.execute_command("HGETALL", key)) // 2

    def xdel(self, key: str, entry: str) -> None:
        self.execute_command("XDEL", key, entry)

    def xlen(self, key: str) -> int:
        return int(self.execute_command("XLEN", key))


@pytest.fixture
def client() -> Client:
    """On a clock that goes on by a millisecond whenever it is read."""
    ticks = itertools.count(int(time.time() * 1000))
    return Client(RedisServer(lambda: next(ticks) / 1000))


@pytest.fixture
def run(client: Client) -> Commands:
    return Commands(client)  # type: ignore[arg-type]  # as far as it is used
