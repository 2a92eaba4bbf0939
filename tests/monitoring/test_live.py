"""A real Prometheus that scrapes a real worker: dashboards have data, and no alert is raised."""

from __future__ import annotations

import http.client
import itertools
import math
import re
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.monitoring.dashboards import DASHBOARDS
from deploy.monitoring.grafana import Panel
from tests import messages
from tests.e2e.fleet import Fleet, fleet
from tests.monitoring.rules import RULES, alerts, rules
from tests.servers.certificates import make_certificates
from tests.servers.dovecot import Dovecot, Maildrop
from tests.servers.ports import HOST, free_port
from tests.servers.prometheus import Prometheus, prometheus_server, promtool
from tests.servers.smtp import PASSWORD, USERNAME, SmtpServer, smtp_server
from tests.servers.valkey import valkey_server

pytestmark = pytest.mark.prometheus

JOB = "mail-ingest"

# Choices that a dashboard leaves to who looks at it.
CHOSEN = {"$job": JOB, "$provider": ".*", "$__rate_interval": "15s"}

PANELS = [panel for dashboard in DASHBOARDS for panel in dashboard.panels]


class Live(NamedTuple):
    """A healthy fleet under observation."""

    prometheus: Prometheus
    exposition: bytes  # of its worker


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, dovecot: Dovecot) -> Iterator[Live]:
    """One worker and one beat, scraped for some seconds while mail and probes came in."""
    directory, port = tmp_path_factory.mktemp("fleet"), free_port()
    settings = {
        "INGEST_METRICS_PORT": str(port),
        "INGEST_METRICS_HOST": HOST,
        "INGEST_POLL_SECONDS": "3",  # nothing is so late, also on a busy machine
        "INGEST_POLL_SECONDS_MAX": "3",
        "SMTP_PASSWORD": PASSWORD,
    }
    canary = dovecot.add_user("canary")
    certificates = make_certificates(tmp_path_factory.mktemp("certificates"))
    with (
        smtp_server(certificates, deliver=canary.deliver) as smtp,
        valkey_server() as valkey,
        fleet(directory, valkey.url, settings) as ours,
        prometheus_server(JOB, [f"{HOST}:{port}"], RULES) as prometheus,
    ):
        maildrop = dovecot.add_user("observed")
        ours.start("worker")
        ours.start("beat")
        ours.wait(lambda: bool(prometheus.query("mail_ingest_due_lag_seconds")), 30)
        ours.add(dovecot, maildrop.name)  # only now: before, nobody would poll it
        ours.add(dovecot, canary.name)
        _get_probes(ours, canary, smtp)
        get(port, "/readyz")
        _work(prometheus, maildrop)
        yield Live(prometheus, get(port, "/metrics"))


def _get_probes(ours: Fleet, canary: Maildrop, smtp: SmtpServer) -> None:
    user = USERNAME.replace("@", "%40")
    ours.run(
        *(
            "canary",
            "set",
            canary.name,
            f"smtp://{user}@localhost:{smtp.port}/?to=probes@example.org",
        ),
        *("--password-ref=env:SMTP_PASSWORD", f"--ca-file={smtp.ca_file}"),
    )


def _work(prometheus: Prometheus, maildrop: Maildrop) -> None:
    """Let mail come in until Prometheus has seen it come in all ways, or for half a minute."""
    deadline, seeds = time.monotonic() + 30, itertools.count()
    while missing(prometheus) and time.monotonic() < deadline:
        if not maildrop.count():
            maildrop.deliver_many(messages.small(next(seeds)).octets for _ in range(4))
        time.sleep(0.5)


def missing(prometheus: Prometheus) -> list[tuple[str, str]]:
    """The panels and queries without data that do not say why they may have none."""
    return [
        (panel.title, query)
        for panel in PANELS
        for query in panel.queries.values()
        if not panel.empty and not has_data(prometheus, query)
    ]


def get(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    connection.request("GET", path)
    with connection.getresponse() as answer:
        assert answer.status == http.HTTPStatus.OK
        return answer.read()


def chosen(query: str) -> str:
    for name, value in CHOSEN.items():
        query = query.replace(name, value)
    return query


def has_data(prometheus: Prometheus, query: str) -> bool:
    return any(not math.isnan(sample.value) for sample in prometheus.query(chosen(query)))


def test_every_panel_has_data_of_a_healthy_fleet_unless_it_says_why_not(live: Live) -> None:
    assert missing(live.prometheus) == []


def test_a_panel_that_may_be_empty_is(live: Live) -> None:
    may_be = [panel for panel in PANELS if panel.empty]
    assert [panel.title for panel in may_be] == ["Alerts", "Errors"]
    assert [panel.title for panel in may_be if _shows(live.prometheus, panel)] == []


def _shows(prometheus: Prometheus, panel: Panel) -> bool:
    return any(has_data(prometheus, query) for query in panel.queries.values())


def test_a_healthy_fleet_raises_no_alert(live: Live) -> None:
    assert live.prometheus.get("alerts")["alerts"] == []


def test_prometheus_has_evaluated_every_rule_without_an_error(live: Live) -> None:
    groups = live.prometheus.get("rules")["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    assert len(found) == len(rules())
    assert {rule["health"] for rule in found} == {"ok"}


def test_every_recorded_series_is_there(live: Live) -> None:
    names = {rule.record for rule in rules() if rule.record}
    assert {name for name in names if not live.prometheus.query(name)} == set()


def test_promtool_finds_nothing_wrong_with_what_a_worker_exposes(live: Live) -> None:
    assert promtool("check", "metrics", octets=live.exposition) == ""


def test_every_label_value_that_rules_and_panels_name_is_one_that_workers_set(live: Live) -> None:
    """A misspelt one would select nothing, and its alert would never fire."""
    set_by_workers: dict[tuple[str, str], set[str]] = {}
    for family in text_string_to_metric_families(live.exposition.decode()):
        for row in family.samples:
            for label, value in row.labels.items():
                set_by_workers.setdefault((row.name, label), set()).add(value)
    named = list(_named(rule.expr for rule in rules()))
    named += _named(query for panel in PANELS for query in panel.queries.values())
    assert len(named) > len(alerts())
    wrong = [
        (metric, label, value)
        for metric, label, value in named
        if not any(re.fullmatch(value, each) for each in set_by_workers[metric, label])
    ]
    assert wrong == []


def _named(expressions: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Metric, label and each alternative of the values that selectors name."""
    for expression in expressions:
        for metric, matchers in re.findall(r"(mail_ingest_\w+)\{([^}]*)\}", chosen(expression)):
            for label, _, values in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', matchers):
                if label != "job" and ":" not in metric:
                    yield from ((metric, label, value) for value in values.split("|"))
