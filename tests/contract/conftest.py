"""Servers that the contracts are held against."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.seaweedfs import SeaweedFs, seaweedfs_server


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFs]:
    """One SeaweedFS for the whole run; every test has a prefix of its own."""
    with seaweedfs_server() as server:
        yield server
