"""A fleet under observation, for drills: what is on fire there, and whether it was put out."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from celery import Celery

from ingest.tasks.app import configuration
from tests.drills.hurried import hurried
from tests.e2e.fleet import Fleet, Running, fleet
from tests.servers.dovecot import Dovecot, Maildrop
from tests.servers.ports import HOST, free_ports
from tests.servers.prometheus import Prometheus, prometheus_server
from tests.servers.valkey import Valkey

FAULTY = Path(__file__).with_name("faulty")

_FIRES_SECONDS = 240.0  # an offset of two hours, and a window
_CLEARS_SECONDS = 300.0

_QUICK = {
    "INGEST_POLL_SECONDS": "1",
    "INGEST_POLL_SECONDS_MAX": "1",
    "INGEST_LEASE_SECONDS": "6",
    "INGEST_METRICS_HOST": HOST,
}


class Site:
    """Workers at two ports, a beat, and a Prometheus that watches by rules that are in a hurry."""

    def __init__(self, ours: Fleet, prometheus: Prometheus, ports: list[int]) -> None:
        self.ours = ours
        self._prometheus = prometheus
        self._ports = ports

    def worker(
        self, number: int = 0, *, drill: str = "", faulty: Path = FAULTY, **environment: str
    ) -> Running:
        """Start a worker, and wait until it is observed, or dead.

        Args:
            number: which of the ports it serves its metrics on.
            drill: the fault in it.
            faulty: the directory of the `sitecustomize` that puts it there.
            environment: more variables.
        """
        environment |= {"DRILL": drill, "PYTHONPATH": f"{faulty}:{Path(__file__).parents[2]}"}
        at = f"{HOST}:{self._ports[number]}"
        began = time.time() - 1
        port = str(self._ports[number])
        worker = self._start("worker", INGEST_METRICS_PORT=port, **environment)
        start = f'process_start_time_seconds{{instance="{at}"}}'
        # Prometheus has to know how all was before anything happened.
        self.ours.wait(
            lambda: bool(
                worker.process.poll()
                or self._prometheus.query(
                    f"min_over_time({start}[4s]) > {began} and count_over_time({start}[4s]) >= 3"
                )
            ),
            60,
        )
        return worker

    def beat(self) -> Running:
        """Start a beat."""
        return self._start("beat")

    def add(self, dovecot: Dovecot, *names: str, port: int = 0) -> list[Maildrop]:
        """Maildrops that the fleet polls, at that port where it is not Dovecot's own."""
        there = dovecot._replace(pop3s_port=port or dovecot.pop3s_port)
        drops = [dovecot.add_user(name) for name in names]
        for drop in drops:
            self.ours.add(there, drop.name)
        return drops

    def send(self, task: str) -> None:
        """Hint at a task, as beat does every hour or so."""
        app = Celery()
        app.config_from_object(configuration(self.ours.settings))
        with contextlib.closing(app):
            app.send_task(task)

    def watches(self, series: str) -> None:
        """Wait until Prometheus has some of it.

        Raises:
            AssertionError: it has nothing.
        """
        self.ours.wait(lambda: bool(self._prometheus.query(series)), 60)

    def firing(self) -> set[str]:
        """The alerts that fire now."""
        return {
            alert["labels"]["alertname"]
            for alert in self._prometheus.get("alerts")["alerts"]
            if alert["state"] == "firing"
        }

    def fires(self, *alerts: str) -> None:
        """Wait until each of these has fired.

        Raises:
            AssertionError: one did not.
        """
        silent, deadline = set(alerts), time.monotonic() + _FIRES_SECONDS
        while silent := silent - self.firing():
            assert time.monotonic() < deadline, f"{silent} not fired; {self.ours.logs()[-4000:]}"
            time.sleep(0.2)

    def clears(self, *alerts: str) -> None:
        """Wait until none of these fires any more.

        Raises:
            AssertionError: one still does.
        """
        deadline = time.monotonic() + _CLEARS_SECONDS
        while still := self.firing() & set(alerts):
            assert time.monotonic() < deadline, f"{still} fire; {self.ours.logs()[-4000:]}"
            time.sleep(0.2)

    def drains(self, *drops: Maildrop) -> None:
        """Wait until all mail was ingested, as it is once nothing is wrong any more."""
        self.ours.wait(lambda: not any(drop.count() for drop in drops))

    def _start(self, role: str, **environment: str) -> Running:
        before = self.ours.environment
        self.ours.environment = {**before, **environment}
        try:
            return self.ours.start(role)
        finally:
            self.ours.environment = before


@contextlib.contextmanager
def site(
    directory: Path, valkey: Valkey, settings: Mapping[str, str] | None = None
) -> Iterator[Site]:
    """A site whose processes end with the block. Nothing works there yet."""
    ports = free_ports(2)
    targets = [f"{HOST}:{port}" for port in ports]
    with (
        fleet(directory, valkey.url, {**_QUICK, **(settings or {})}) as ours,
        prometheus_server("mail-ingest", targets, hurried(directory / "rules.yaml")) as prometheus,
        _probed(ports),
    ):
        yield Site(ours, prometheus, ports)


@contextlib.contextmanager
def _probed(ports: list[int]) -> Iterator[None]:
    """Ask every worker whether it is ready, all the while, as Kubernetes does."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(0.5):
            for port in ports:
                connection = http.client.HTTPConnection(HOST, port, timeout=5)
                with contextlib.closing(connection), contextlib.suppress(OSError):
                    connection.request("GET", "/readyz")
                    connection.getresponse().read()

    thread = threading.Thread(target=ask, name="probe")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
