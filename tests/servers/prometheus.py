"""A real Prometheus for tests, on a free loopback port, and its promtool."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec

from tests.servers.ports import HOST, free_port

PACKAGE = "prometheus"
START_SECONDS = 30.0

CONFIGURATION = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: {job}
    static_configs: [{{targets: {targets}}}]
"""


class Sample(NamedTuple):
    """One series at one moment."""

    labels: Mapping[str, str]
    value: float


class Prometheus(NamedTuple):
    """A running server."""

    port: int

    def query(self, expression: str) -> list[Sample]:
        """Evaluate PromQL now.

        Raises:
            AssertionError: it is no PromQL, or failed.
        """
        result = self.get("query", query=expression)["result"]
        return [Sample(row["metric"], float(row["value"][1])) for row in result]

    def get(self, what: str, **arguments: str) -> Any:  # noqa: ANN401 - each answers otherwise
        """Ask the HTTP API."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", f"/api/v1/{what}?{urlencode(arguments)}")
            answer = msgspec.json.decode(connection.getresponse().read())
        assert answer["status"] == "success", f"{arguments}: {answer['error']}"
        return answer["data"]


def program() -> str | None:
    """Where Prometheus is, or None: the package is not installed, or lacks promtool."""
    return shutil.which("prometheus") if shutil.which("promtool") else None


def promtool(*arguments: str, octets: bytes = b"", cwd: Path | None = None) -> str:
    """What promtool says to these octets.

    Raises:
        AssertionError: it is not content.
    """
    done = subprocess.run(
        ["promtool", *arguments], input=octets, capture_output=True, check=False, cwd=cwd
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


@contextlib.contextmanager
def prometheus_server(job: str, targets: Sequence[str], rules: Path) -> Iterator[Prometheus]:
    """Start one that scrapes those targets and evaluates those rules every second.

    Raises:
        RuntimeError: it did not start; with what it logged.
    """
    with tempfile.TemporaryDirectory(prefix="prometheus-", ignore_cleanup_errors=True) as directory:
        home, port = Path(directory), free_port()
        configuration = home / "prometheus.yaml"
        configuration.write_text(CONFIGURATION.format(job=job, targets=list(targets), rules=rules))
        with (home / "log").open("wb") as log:
            running = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={configuration}",
                    f"--storage.tsdb.path={home / 'tsdb'}",
                    f"--web.listen-address={HOST}:{port}",
                ],
                stdout=log,
                stderr=log,
            )
        try:
            _wait_until_ready(running, port, home / "log")
            yield Prometheus(port)
        finally:
            running.kill()
            running.wait()


def _wait_until_ready(running: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while running.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection(HOST, port, timeout=1)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.request("GET", "/-/ready")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        time.sleep(0.05)
    raise RuntimeError(f"Prometheus did not start: {log.read_text()}")
