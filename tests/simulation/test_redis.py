"""The Redis in memory and its Lua answer what Valkey answers: the same suites, run against it."""

from __future__ import annotations

import pytest

from tests.contract import test_state as contract
from tests.contract.test_state import *  # noqa: F403 - the suite itself
from tests.simulation.redis_client import RedisClient
from tests.simulation.redis_server import RedisServer


class SimulatedWorld(contract.RedisWorld):
    def __init__(self) -> None:
        self.clock = 1_700_000_000.0
        server = RedisServer(lambda: self.clock)
        super().__init__(RedisClient(server))  # type: ignore[arg-type]  # as far as it is used

    def pass_seconds(self, seconds: float) -> None:
        self.clock += seconds


@pytest.fixture  # type: ignore[no-redef]  # in place of the suite's own
def world() -> SimulatedWorld:
    return SimulatedWorld()
