from __future__ import annotations

from prometheus_client import Gauge
from prometheus_client.parser import text_string_to_metric_families

from ingest import errors
from ingest.observability import metrics


def sample(name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_every_outcome_is_there_before_it_happens() -> None:
    assert sample("mail_ingest_sessions_total", outcome="failed") is not None
    assert sample("mail_ingest_messages_total", outcome="quarantined") is not None
    assert sample("mail_ingest_deletes_total", outcome="unconfirmed") is not None
    assert sample("mail_ingest_errors_total", code="sign_in") is not None
    assert sample("mail_ingest_errors_total", code="lease_lost") is not None


def test_an_error_is_counted_by_its_class() -> None:
    before = sample("mail_ingest_errors_total", code="tls") or 0

    metrics.count_error(errors.TlsFailed("no TLS"))

    assert sample("mail_ingest_errors_total", code="tls") == before + 1


def test_an_error_that_is_not_ours_is_unexpected() -> None:
    before = sample("mail_ingest_errors_total", code="unexpected") or 0

    metrics.count_error(KeyError("x"))

    assert sample("mail_ingest_errors_total", code="unexpected") == before + 1


def test_the_exposition_parses_and_our_names_carry_the_prefix_and_units() -> None:
    families = list(text_string_to_metric_families(metrics.exposition().decode()))

    ours = [family for family in families if family.name.startswith("mail_ingest_")]
    assert len(ours) > 15
    assert all(family.documentation.endswith(".") for family in ours)
    others = {family.name.split("_")[0] for family in families} - {"mail"}
    assert others <= {"process", "python"}


def test_no_metric_is_labelled_with_what_grows_with_the_fleet() -> None:
    labels = {
        label
        for family in metrics.registry.collect()
        if family.name.startswith("mail_ingest_")
        for row in family.samples
        for label in row.labels
    }

    assert labels <= {"outcome", "code", "le", "version", "provider", "sink", "task", "check"}


def test_a_process_names_fifty_hosts_and_counts_the_others_together() -> None:
    for number in range(200):
        metrics.count_provider(f"pop{number}.example.org", "failed")
    metrics.count_provider("pop0.example.org", "completed")

    counted = {
        row.labels["provider"]
        for family in metrics.provider_sessions.collect()
        for row in family.samples
    }
    assert len(counted) <= 51
    assert "pop199.example.org" not in counted
    others = sample("mail_ingest_provider_sessions_total", provider="other", outcome="failed")
    assert others is not None
    assert others >= 150


def test_gauges_of_the_fleet_are_said_only_while_the_process_keeps_looking() -> None:
    seconds = 1000.0
    fleet = metrics.FleetRegistry(lambda: seconds)
    depth = Gauge("depth", "Events.", registry=fleet)
    assert list(fleet.collect()) == []

    depth.set(7)
    fleet.observed()
    seconds += 60
    assert fleet.get_sample_value("depth") == 7

    seconds += 1
    assert list(fleet.collect()) == []
