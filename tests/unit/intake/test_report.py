"""What a session in a process of its own did counts here, where it is scraped."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter

from ingest.intake.report import SessionReport, note_isolated
from ingest.observability import metrics


def test_a_delete_without_evidence_is_counted_wherever_it_was_about_to_happen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = CollectorRegistry()
    monkeypatch.setattr(metrics, "deletes_without_evidence", Counter("x", "X.", registry=registry))
    note_isolated(SessionReport(mailbox="mb", unproven=2))
    assert registry.get_sample_value("x_total") == 2
