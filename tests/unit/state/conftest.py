"""A real Valkey: what is tested here is mostly what it does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from ingest.state.commands import Commands
from tests.servers.valkey import valkey_client


@pytest.fixture(scope="session")
def valkey() -> Iterator[Redis]:
    with valkey_client() as client:
        yield client


@pytest.fixture
def client(valkey: Redis) -> Redis:
    """An empty Redis."""
    valkey.flushall()
    return valkey


@pytest.fixture
def run(client: Redis) -> Commands:
    return Commands(client)
