"""What Celery is told, and how long its messages are believed."""

from __future__ import annotations

from ingest.settings import Settings
from ingest.tasks.app import configuration

CLOCKS_DIFFER = 25  # seconds


def test_no_hint_of_beat_is_over_for_a_worker_whose_clock_is_ahead() -> None:
    schedule = configuration(Settings(redis_url="redis://localhost"))["beat_schedule"]
    tasks = {entry["task"] for entry in schedule.values()}
    assert tasks == {"tick", "relay", "read_back", "sweep", "audit"}
    assert all(entry["options"]["expires"] > CLOCKS_DIFFER for entry in schedule.values())
