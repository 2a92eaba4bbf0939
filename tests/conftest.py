"""Servers for the tests that need real ones, and what to do where one can't be had."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.servers import dovecot as dovecot_package
from tests.servers import faketime, systemd
from tests.servers import prometheus as prometheus_package
from tests.servers.dovecot import Dovecot, Maildrop, dovecot_server
from tests.servers.seaweedfs import SeaweedFs, seaweedfs_server
from tests.servers.valkey import Valkey, valkey_server

# Marker, which is the fixture's name too, and where the system package is looked for.
PACKAGES = {
    "dovecot": dovecot_package,
    "prometheus": prometheus_package,
    "systemd": systemd,
    "faketime": faketime,
}
CORPORA = Path(__file__).parents[2] / "shared" / "corpora"

_user_numbers = itertools.count(1)


def pytest_configure() -> None:
    """In the background SIGINT is ignored, and so it would be by what tests end with it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever uses the server needs its package, marked or not."""
    for item in items:
        for marker in PACKAGES.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(marker)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what can't run here; where CI=true, a missing package is a failure instead."""
    for marker, package in PACKAGES.items():
        if item.get_closest_marker(marker) and package.program() is None:
            reason = f"needs the system package {package.PACKAGE}"
            if os.environ.get("CI") == "true":
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)
    if item.get_closest_marker("corpus") and not CORPORA.is_dir():
        pytest.skip("needs the message corpora beside the checkout, in ../shared/corpora")


@pytest.fixture(scope="session")
def dovecot() -> Iterator[Dovecot]:
    """One Dovecot for the whole run; every test makes users of its own."""
    with dovecot_server() as server:
        yield server


@pytest.fixture
def maildrop(dovecot: Dovecot) -> Maildrop:
    """The empty maildrop of a new user."""
    return dovecot.add_user(f"user{next(_user_numbers)}")


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFs]:
    """One SeaweedFS for the whole run; every test has a prefix of its own."""
    with seaweedfs_server() as server:
        yield server


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[Valkey]:
    """One Valkey for the whole run; tests use `valkey`."""
    with valkey_server() as server:
        yield server


@pytest.fixture
def valkey(shared_valkey: Valkey) -> Valkey:
    """An empty Valkey, for a test that does not kill it (that one starts its own)."""
    with contextlib.closing(Redis.from_url(shared_valkey.url)) as client:
        client.flushall()
    return shared_valkey


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Other projects' test messages; for tests marked `corpus`."""
    return CORPORA
