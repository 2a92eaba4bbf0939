"""Items are worked on ahead of whoever takes the answers, a few at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ingest.objects.ahead import ahead


def test_answers_come_in_order_and_few_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(4) as executor:
        answers = ahead(executor, lambda number: -number, items())
        assert next(answers) == 0
        assert len(taken) == 16
        assert list(answers) == [-number for number in range(1, 100)]


def test_several_items_are_worked_on_at_a_time() -> None:
    together = threading.Barrier(4, timeout=30)
    with ThreadPoolExecutor(4) as executor:
        assert len(list(ahead(executor, lambda _: together.wait(), range(4)))) == 4


def test_an_error_comes_in_its_place_and_ends_it() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        return 1 // (2 - number)

    with ThreadPoolExecutor(1) as executor:
        answers = ahead(executor, work, range(1000))
        assert [next(answers), next(answers)] == [0, 1]
        with pytest.raises(ZeroDivisionError):
            next(answers)
    assert len(begun) <= 20
