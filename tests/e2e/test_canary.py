"""A canary's probe goes the whole way: submitted, delivered, polled, stored, published, deleted."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingest.events.schema import INGESTED, PROBED
from ingest.intake.canary import MISSING_SECONDS
from ingest.state.connect import connect
from tests.e2e.fleet import Fleet, fleet, stored
from tests.servers.certificates import Certificates, make_certificates
from tests.servers.dovecot import Dovecot, Maildrop
from tests.servers.ports import HOST, free_port
from tests.servers.smtp import PASSWORD, USERNAME, SmtpServer, smtp_server
from tests.servers.valkey import Valkey

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def server(certificates: Certificates) -> Iterator[SmtpServer]:
    with smtp_server(certificates) as running:
        yield running


class Observed:
    """A fleet whose workers can be scraped."""

    def __init__(self, ours: Fleet, ports: list[int]) -> None:
        self.ours = ours
        self._ports = ports

    def counted(self, outcome: str) -> float:
        """Probes by outcome, of all workers."""
        return self._sum("mail_ingest_canary_probes_total", {"outcome": outcome})

    def measured(self) -> float:
        return self._sum("mail_ingest_canary_seconds_count", {})

    def wait_for(self, outcome: str, count: float) -> None:
        self.ours.wait(lambda: self.counted(outcome) >= count, 60)

    def listed(self) -> dict[str, Any]:
        [canary] = json.loads(self.ours.run("canary", "list", "--json"))
        return dict(canary)

    def types(self) -> list[str]:
        return sorted(event.type for event in self.ours.events())

    def _sum(self, name: str, labels: dict[str, str]) -> float:
        return sum(
            row.value
            for port in self._ports
            for family in text_string_to_metric_families(scraped(port))
            for row in family.samples
            if row.name == name
            and row.labels.items() >= {**labels, "provider": "localhost"}.items()
        )


def scraped(port: int) -> str:
    with contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=10)) as connection:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


@pytest.fixture
def observed(tmp_path: Path, valkey: Valkey) -> Iterator[Observed]:
    """Two workers and two beats, so that everything may be done twice."""
    ports = [free_port(), free_port()]
    with fleet(tmp_path, valkey.url, {"SMTP_PASSWORD": PASSWORD}) as ours:
        for port in ports:
            ours.environment |= {"INGEST_METRICS_PORT": str(port), "INGEST_METRICS_HOST": HOST}
            worker = ours.start("worker")
            ours.wait(lambda running=worker: running.said("worker_started"))  # type: ignore[misc]  # bound now
            ours.start("beat")
        ours.environment["INGEST_METRICS_PORT"] = "0"
        yield Observed(ours, ports)


def make_canary(
    observed: Observed, dovecot: Dovecot, maildrop: Maildrop, server: SmtpServer, *options: str
) -> None:
    observed.ours.add(dovecot, maildrop.name)
    observed.ours.run(
        "canary",
        "set",
        maildrop.name,
        f"smtp://{USERNAME.replace('@', '%40')}@localhost:{server.port}/?to=probes@example.org",
        "--password-ref=env:SMTP_PASSWORD",
        f"--ca-file={server.ca_file}",
        *options,
    )


def relayed(message: bytes) -> bytes:
    """As an MTA hands it on: with a trace field of its own, and no two alike."""
    return b"Received: by mx.example.org; %d\r\n" % next(_numbers) + message


def test_one_probe_is_sent_at_a_time_and_measured_on_its_whole_way(
    observed: Observed, dovecot: Dovecot, maildrop: Maildrop, server: SmtpServer
) -> None:
    server.deliver = lambda message: maildrop.deliver(relayed(message))
    make_canary(observed, dovecot, maildrop, server, "--no-test")
    observed.wait_for("home", 1)
    observed.ours.wait(lambda: maildrop.count() == 0)
    listed = observed.listed()
    assert listed["home_at"] > listed["sent_at"]
    assert listed["under_way"] == 0
    assert len(server.messages) == 1  # of two workers, and ten hints and more
    assert observed.types() == [PROBED]
    assert (observed.counted("sent"), observed.measured()) == (1, 1)
    with observed.ours.store() as store:
        [record] = stored(store)
    assert record.envelope.subject == "mail-ingest canary"
    assert PASSWORD not in observed.ours.logs()


@pytest.mark.exam
def test_what_is_doubled_counts_once_and_what_is_forged_or_replayed_elsewhere_is_mail(
    observed: Observed, dovecot: Dovecot, maildrop: Maildrop, server: SmtpServer
) -> None:
    other = dovecot.add_user(f"{maildrop.name}-other")
    observed.ours.add(dovecot, other.name)

    def deliver(message: bytes) -> None:
        forged = message.replace(b"X-Mail-Ingest-Canary: v1 ", b"X-Mail-Ingest-Canary: v1 0")
        maildrop.deliver_many(map(relayed, (message, message, forged)))
        other.deliver(relayed(message))

    server.deliver = deliver
    make_canary(observed, dovecot, maildrop, server, "--no-test")
    observed.wait_for("stray", 1)
    observed.ours.wait(lambda: len(observed.types()) == 4)
    assert observed.types() == [INGESTED, INGESTED, PROBED, PROBED]
    assert (observed.counted("home"), observed.measured()) == (1, 1)
    observed.ours.wait(lambda: maildrop.count() + other.count() == 0)


@pytest.mark.exam
def test_what_a_provider_swallows_is_missed_and_measured_when_it_comes_after_all(
    observed: Observed,
    dovecot: Dovecot,
    maildrop: Maildrop,
    server: SmtpServer,
) -> None:
    make_canary(observed, dovecot, maildrop, server)
    observed.wait_for("sent", 1)  # and one was sent by hand
    observed.ours.wait(lambda: len(server.messages) == 2)
    assert observed.counted("missing") == 0
    _let_time_pass(observed.ours, MISSING_SECONDS)
    observed.wait_for("missing", 2)
    assert observed.ours.logs().count('"canary_missing"') == 2
    maildrop.deliver(relayed(server.messages[1]))
    observed.wait_for("late", 1)
    assert observed.measured() == 1
    assert observed.types() == [PROBED]


def _let_time_pass(ours: Fleet, seconds: float) -> None:
    """Every probe that is under way was sent so much earlier."""
    awaited = "mail-ingest:canaries:awaited"
    with contextlib.closing(connect(ours.settings.redis_url)) as client:
        for member, _ in client.zscan_iter(awaited):
            client.zincrby(awaited, -seconds, member)


FAILURES: list[tuple[str, Callable[[SmtpServer], object]]] = [
    ("busy", lambda server: server.replies.update(RCPT="451 later")),
    ("sign_in", lambda server: server.replies.update(AUTH="535 no")),
    ("tls", lambda server: server.extensions.remove("STARTTLS")),
    ("connection", lambda server: setattr(server, "endless", True)),
]


@pytest.mark.exam
def test_what_keeps_probes_from_being_sent_is_logged_counted_and_not_missed(
    observed: Observed, dovecot: Dovecot, maildrop: Maildrop, server: SmtpServer
) -> None:
    for number, (code, fail) in enumerate(FAILURES, 1):
        fail(server)
        if number == 1:
            make_canary(observed, dovecot, maildrop, server, "--no-test")
        else:
            _let_the_next_turn_come(observed.ours)
        said = f'"code": "{code}"'
        observed.ours.wait(lambda said=said: said in observed.ours.logs())  # type: ignore[misc]  # bound now
        assert observed.counted("failed") == number
        server.replies.clear()
        server.extensions = ["STARTTLS", "AUTH PLAIN"]
    assert observed.listed()["under_way"] == 0
    assert observed.counted("sent") == observed.counted("missing") == 0
    assert PASSWORD not in observed.ours.logs()


def _let_the_next_turn_come(ours: Fleet) -> None:
    with contextlib.closing(connect(ours.settings.redis_url)) as client:
        for key in client.scan_iter("mail-ingest:canaries:turn:*"):
            client.delete(key)
