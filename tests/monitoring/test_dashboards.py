"""The dashboards are what their code says, and show one fleet by metrics that exist."""

from __future__ import annotations

import json
from itertools import combinations

import pytest

from deploy.monitoring.dashboards import DASHBOARDS, FOLDER
from deploy.monitoring.grafana import Dashboard, as_json
from tests.monitoring.exposed import exposed_names
from tests.monitoring.rules import metrics_in, rules

every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)


@every_dashboard
def test_the_file_of_a_dashboard_is_what_its_code_makes(dashboard: Dashboard) -> None:
    kept = (FOLDER / f"{dashboard.name}.json").read_text()
    assert kept == as_json(dashboard), "run: python -m deploy.monitoring.dashboards"


def test_there_are_no_other_files() -> None:
    expected = {f"{dashboard.name}.json" for dashboard in DASHBOARDS}
    assert {path.name for path in FOLDER.iterdir()} == expected


@every_dashboard
def test_no_two_panels_overlap_or_have_the_same_title(dashboard: Dashboard) -> None:
    panels = json.loads(as_json(dashboard))["panels"]
    for one, other in combinations(panels, 2):
        assert one["title"] != other["title"]
        a, b = one["gridPos"], other["gridPos"]
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert apart or above, f"{one['title']}, {other['title']}"
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


@every_dashboard
def test_every_query_is_about_the_chosen_fleet_and_metrics_that_exist(
    dashboard: Dashboard,
) -> None:
    known = exposed_names() | {rule.record for rule in rules()}
    for panel in dashboard.panels:
        assert panel.description.endswith(".")
        for query in panel.queries.values():
            assert query.count("{") == query.count('job="$job"'), query
            assert metrics_in(query) <= known, query
