"""A bar that shows how far a long run over the log is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TypeAlias

from ingest.cli import output
from ingest.objects.keys import begun

Show: TypeAlias = Callable[[float, str], None]
"""Shows how far a run is, from 0 to 1, and a sentence."""


def along(begin: datetime | None, end: datetime) -> Callable[[str], float]:
    """How far along the log a batch is, from 0 to 1; from the first one asked for, if None."""

    def fraction(batch: str) -> float:
        nonlocal begin
        at = begun(batch)
        begin = begin or at
        return (at - begin) / (end - begin) if end > begin else 1.0

    return fraction


@contextmanager
def bar() -> Iterator[Show]:
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
