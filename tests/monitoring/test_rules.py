"""Every alert can fire, stays silent where it must, and says what to do."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from tests.monitoring.rules import (
    MONITORING,
    RULE_TESTS,
    RuleTest,
    alerts,
    metrics_in,
    rule_tests,
    rules,
)
from tests.servers.prometheus import promtool


@pytest.mark.prometheus
def test_prometheus_accepts_the_example_configuration_and_its_rules() -> None:
    said = promtool("check", "config", str(MONITORING / "prometheus.yaml"))
    assert f"{len(rules())} rules found" in said


@pytest.mark.prometheus
@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_and_stay_silent_as_their_tests_say(path: Path) -> None:
    promtool("test", "rules", str(path))


def test_each_alert_has_a_severity_a_summary_a_description_and_a_runbook() -> None:
    for alert in alerts():
        assert alert.labels.keys() == {"severity"}
        assert alert.labels["severity"] in {"critical", "warning"}
        assert set(alert.annotations) == {"summary", "description", "runbook_url"}
        assert all(alert.annotations.values())
        assert alert.annotations["runbook_url"] == f"deploy/runbooks/{alert.alert}.md"


def test_no_alert_is_there_twice() -> None:
    names = [alert.alert for alert in alerts()]
    assert sorted(names) == sorted(set(names))


def test_each_alert_has_a_case_that_fires_it_and_one_with_data_that_must_not() -> None:
    cases: dict[str, list[RuleTest]] = defaultdict(list)
    for case in rule_tests():
        cases[case.alert].append(case)
    assert cases.keys() == {alert.alert for alert in alerts()}
    recorded = {rule.record: rule for rule in rules() if rule.record}
    for alert in alerts():
        assert any(case.fires for case in cases[alert.alert]), alert.alert
        silent = [case for case in cases[alert.alert] if not case.fires]
        assert silent, alert.alert
        needed = metrics_in(alert.expr)
        while derived := needed & recorded.keys():
            needed = needed - derived
            needed |= {name for each in derived for name in metrics_in(recorded[each].expr)}
        for case in silent:
            given = {name for series in case.input_series for name in metrics_in(series.series)}
            assert needed <= given, f"{case.name}: silent for want of {needed - given}"


def test_a_case_says_in_its_name_whether_its_alert_fires() -> None:
    for case in rule_tests():
        assert case.name.split()[1] == ("fires" if case.fires else "is"), case.name
