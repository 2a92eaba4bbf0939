"""Dashboards, panels and queries, and the JSON that Grafana imports for them."""  # noqa: INP001 - a script beside what it makes

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

RATE = "[$__rate_interval]"

_COLUMNS = 24
_HEIGHTS = {"stat": 4, "timeseries": 8, "table": 8}
_SOURCE = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True)
class Panel:
    """One panel.

    Args:
        title: what it shows.
        description: how to read it.
        queries: PromQL by legend.
        unit: of Grafana's.
        kind: `timeseries`, `stat` or `table`.
        width: of 24 columns.
        red: the value from which it is bad.
        empty: why it has no data while all is well; empty: it always has.
    """

    title: str
    description: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    red: float | None = None
    empty: str = ""


@dataclass(frozen=True)
class Dashboard:
    """One dashboard: its panels from left to right, row by row."""

    name: str  # of its file
    title: str
    description: str
    panels: tuple[Panel, ...]
    by_provider: bool = False  # has a choice of providers


def stat(title: str, description: str, query: str, unit: str = "short", **more: Any) -> Panel:  # noqa: ANN401 - Panel's fields
    """One number."""
    return Panel(title, description, {"": query}, unit, kind="stat", width=4, **more)


def rate(metric: str, by: str = "", labels: str = "") -> str:
    """Events per second, summed over the fleet's workers."""
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (rate({of(metric, labels)}{RATE}))"


def of(metric: str, labels: str = "") -> str:
    """One of our metrics, of the chosen fleet."""
    return f'mail_ingest_{metric}{{job="$job"{labels and ", "}{labels}}}'


def quantiles(histogram: str, by: str = "") -> dict[str, str]:
    """The median and the 99th percentile of a histogram."""
    grouped = ", ".join(filter(None, ["le", by]))
    legend = f" {{{{{by}}}}}" if by else ""
    return {
        f"p{quantile * 100:.0f}{legend}": f"histogram_quantile({quantile}, "
        f"sum by ({grouped}) (rate({of(histogram + '_bucket')}{RATE})))"
        for quantile in (0.5, 0.99)
    }


def as_json(dashboard: Dashboard) -> str:
    """What Grafana imports."""
    model = {
        "uid": f"mail-ingest-{dashboard.name}",
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["mail-ingest"],
        "schemaVersion": 39,
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,  # one cross-hair for all panels
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "links": [_links()],
        "templating": {"list": list(_variables(dashboard))},
        "panels": list(_placed(dashboard.panels)),
    }
    return json.dumps(model, indent=1) + "\n"


def _links() -> dict[str, Any]:
    """A menu of the other dashboards."""
    return {
        "type": "dashboards",
        "title": "mail-ingest",
        "tags": ["mail-ingest"],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
    }


def _variables(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    yield {"name": "source", "label": "Source", "type": "datasource", "query": "prometheus"}
    yield _choice("job", "Fleet", "label_values(mail_ingest_build_info, job)")
    if dashboard.by_provider:
        query = 'label_values(mail_ingest_provider_sessions_total{job="$job"}, provider)'
        several = {"multi": True, "includeAll": True, "allValue": ".*"}
        current = {"text": "All", "value": "$__all"}
        yield _choice("provider", "Provider", query) | several | {"current": current}


def _choice(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,  # whenever the time changes
        "sort": 1,
    }


def _placed(panels: tuple[Panel, ...]) -> Iterator[dict[str, Any]]:
    """The panels with their places: a row is as high as its highest panel."""
    x = y = height = 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > _COLUMNS:
            x, y, height = 0, y + height, 0
        place = {"x": x, "y": y, "w": panel.width, "h": _HEIGHTS[panel.kind]}
        yield _panel(number, panel) | {"gridPos": place}
        x, height = x + panel.width, max(height, _HEIGHTS[panel.kind])


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    once = panel.kind != "timeseries"
    description = panel.description
    if panel.empty:
        description += f" Empty while all is well: {panel.empty}."
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": description,
        "datasource": _SOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": query,
                "legendFormat": legend or "__auto",
                "instant": once,
                "range": not once,
                "format": "table" if panel.kind == "table" else "time_series",
            }
            for index, (legend, query) in enumerate(panel.queries.items())
        ],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
    }


_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
    },
    "table": {"showHeader": True},
}


def _field(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red is not None:
        steps.append({"color": "red", "value": panel.red})
    field: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.kind == "timeseries":
        field |= {"min": 0, "custom": {"fillOpacity": 10, "showPoints": "never"}}
        if panel.red is not None:
            field["custom"]["thresholdsStyle"] = {"mode": "line"}
    return field
