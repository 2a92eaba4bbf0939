from __future__ import annotations

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

    assert labels == {"outcome", "code", "le", "version"}
