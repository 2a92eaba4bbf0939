"""Long runs over the log: reading ahead, and a bar that shows how far they are."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from ingest.cli import output
from ingest.objects.keys import begun

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


def along(begin: datetime | None, end: datetime) -> Callable[[str], float]:
    """How far along the log a batch is, from 0 to 1; from the first one asked for, if None."""

    def fraction(batch: str) -> float:
        nonlocal begin
        at = begun(batch)
        begin = begin or at
        return (at - begin) / (end - begin) if end > begin else 1.0

    return fraction


@contextmanager
def bar() -> Iterator[Callable[[float, str], None]]:
    """On the terminal, shows a fraction and a sentence when told to; nothing where there is none.

    What is printed meanwhile stands above it.
    """
    if not sys.stderr.isatty():
        yield lambda _fraction, _sentence: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=output.console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    ) as progress:
        task = progress.add_task("", total=1.0)

        def show(fraction: float, sentence: str) -> None:
            progress.update(task, completed=fraction, description=output.visible(sentence))

        yield show
