from __future__ import annotations

import io
import sys
from datetime import UTC, datetime, timedelta

import pytest
from ulid import ULID

from ingest.cli import progress

NOW = datetime(2026, 10, 5, 12, 30, tzinfo=UTC)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_batch_is_as_far_along_the_log_as_its_begin() -> None:
    def batch(hours: int) -> str:
        return str(ULID.from_datetime(NOW - timedelta(hours=hours)))

    since = progress.along(NOW - timedelta(hours=4), NOW)
    assert [since(batch(hours)) for hours in (4, 3, 0)] == pytest.approx([0, 0.25, 1])
    from_first = progress.along(None, NOW)
    assert [from_first(batch(hours)) for hours in (10, 5)] == pytest.approx([0, 0.5])
    assert progress.along(None, NOW)(batch(0)) == 1


def test_a_bar_is_drawn_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, terminal = io.StringIO(), Terminal()
    for stream in (pipe, terminal):
        monkeypatch.setattr(sys, "stderr", stream)
        with progress.bar() as show:
            show(0.5, "1,234 records")
    assert pipe.getvalue() == ""
    assert "1,234 records" in terminal.getvalue()


def test_a_result_in_a_pipe_is_not_drawn_into(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.bar() as show:
        show(0.5, "half")
        sys.stdout.write("result\n")
    assert pipe.getvalue() == "result\n"
