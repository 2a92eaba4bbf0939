"""What a worker exposes."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from ingest.observability import metrics


def series_names(families: Iterable[Metric]) -> set[str]:
    """The names of all series, also of metrics whose labels have no values yet."""
    names = set()
    for family in families:
        suffixes = {
            "counter": ["_total"],
            "histogram": ["_bucket", "_count", "_sum"],
        }.get(family.type, [""])
        names |= {family.name + suffix for suffix in suffixes}
    return names


def exposed_names() -> set[str]:
    """Those of this process, which are those of any."""
    families = list(metrics.registry.collect())
    for gauges in (metrics.fleet, metrics.canaries):
        families += CollectorRegistry.collect(gauges)
    return series_names(families)
