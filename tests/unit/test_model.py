"""The values that all layers share."""

from __future__ import annotations

import pytest

from ingest.model import DeleteRule


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("committed", "committed"),
        ("never", "never"),
        ("after 6d", "after 6d"),
        ("after 7d", "after 1w"),
        ("after 90m", "after 90m"),
        ("after 7200s", "after 2h"),
        ("after 61s", "after 61s"),
        ("after 0d", "after 0w"),
    ],
)
def test_a_delete_rule_is_written_in_the_largest_unit_that_fits(given: str, text: str) -> None:
    rule = DeleteRule.parse(given)
    assert str(rule) == text
    assert DeleteRule.parse(text) == rule
