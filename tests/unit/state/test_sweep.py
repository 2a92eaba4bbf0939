from __future__ import annotations

import pytest
from redis import Redis

from ingest.state.commands import Commands
from ingest.state.sweep import SweepCursor

DAY = 86400


def test_a_sweep_goes_on_where_the_last_one_stopped(client: Redis) -> None:
    cursor = SweepCursor(client)
    assert cursor.read() == ""
    cursor.write("mail/2026/01/02/03/batch/part-1")
    assert SweepCursor(client).read() == "mail/2026/01/02/03/batch/part-1"


def test_once_a_month_a_sweep_begins_at_the_oldest_batch(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    for days in (0, 20, 29, 31, 60, 62):
        monkeypatch.setattr(Commands, "now", lambda _, days=days: 1e9 + days * DAY)
        cursor = SweepCursor(client)
        read.append(cursor.read())
        cursor.write(f"mail/{days}")
    assert read == ["", "mail/0", "mail/20", "", "mail/31", ""]
