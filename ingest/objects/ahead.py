"""Reading ahead: a store answers many at a time as soon as one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

_AHEAD = 16

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def ahead(
    executor: Executor, function: Callable[[Item], Answer], items: Iterable[Item]
) -> Iterator[Answer]:
    """The function's answers, in the order of the items, a few of them worked on at a time."""
    waiting: deque[Future[Answer]] = deque()
    try:
        for item in items:
            waiting.append(executor.submit(function, item))
            if len(waiting) == _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
