from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from ulid import ULID

from ingest.cli import progress

NOW = datetime(2026, 10, 5, 12, 30, tzinfo=UTC)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_answers_come_in_order_and_few_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(4) as executor:
        answers = progress.ahead(executor, lambda number: -number, items())
        assert next(answers) == 0
        assert len(taken) == 16
        assert list(answers) == [-number for number in range(1, 100)]


def test_several_items_are_worked_on_at_a_time() -> None:
    together = threading.Barrier(4, timeout=30)
    with ThreadPoolExecutor(4) as executor:
        assert len(list(progress.ahead(executor, lambda _: together.wait(), range(4)))) == 4


def test_an_error_comes_in_its_place_and_ends_it() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        return 1 // (2 - number)

    with ThreadPoolExecutor(1) as executor:
        answers = progress.ahead(executor, work, range(1000))
        assert [next(answers), next(answers)] == [0, 1]
        with pytest.raises(ZeroDivisionError):
            next(answers)
    assert len(begun) <= 20


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
