"""`ingest poll`: one session, now."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.cli import output
from ingest.cli.application import opened
from ingest.cli.sign_in import named
from ingest.errors import RegistryError
from ingest.model import Record

if TYPE_CHECKING:
    from rich.progress import Progress

    from ingest.intake.report import SessionReport, Watch


def poll(
    name: Annotated[str, typer.Argument(help="The mailbox's name or id.", show_default=False)],
    *,
    json: output.Json = False,
) -> None:
    """Hold one session with a mailbox now.

    JSON: the session's report.
    """
    with opened() as application:
        application.prepare()
        mailbox = application.registry.get(name)
        lease = application.schedule.claim_mailbox(mailbox, application.settings.lease_seconds)
        if lease is None:
            raise RegistryError(
                f"mailbox {mailbox.name!r} is in a session already",
                remedy="a worker is at it; try again in a moment",
            )
        with named(mailbox), _progress() as watch:
            report = application.poller().poll(lease, watch)
        application.relay().drain()
    output.print_outcome(report, summary(name, report), json=json)


def summary(name: str, report: SessionReport) -> str:
    """A session in one sentence."""
    if not report.listed:
        return f"{name}: nothing waits ({report.seconds:.1f} s)"
    facts = [
        f"{output.counted(report.committed, 'message')} stored ({output.octets(report.octets)})"
    ]
    optional = (
        (report.parts, "in objects of their own"),
        (report.events, "new events"),
        (report.deleted, "deleted on the server"),
        (report.kept, "kept there"),
        (report.defects, "defects"),
        (report.refused, "refused"),
        (report.withheld, "shorter than announced"),
        (report.ignored_deletes, "deleted before, and still there"),
        (report.skipped, "skipped after too many attempts"),
        (report.left, "left for the next session"),
    )
    facts += [f"{number:,} {what}" for number, what in optional if number]
    braked = f"; nothing was deleted: {report.braked}" if report.braked else ""
    return f"{name}: {', '.join(facts)} in {report.seconds:.1f} s{braked}"


@contextmanager
def _progress() -> Iterator[Watch | None]:
    """A bar on the terminal; nothing where there is none."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=output.console(stderr=True),
        transient=True,
    ) as progress:
        yield Bar(progress)


class Bar:
    """Draws a session's progress."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("connecting", total=None)
        self._messages = 0
        self._committed = 0

    def listed(self, messages: int, octets: int) -> None:
        """So much is going to be retrieved."""
        self._messages = messages
        self._progress.update(self._task, total=octets, description=self._description())

    def received(self, octets: int) -> None:
        """So many more octets came in."""
        self._progress.advance(self._task, octets)

    def committed(self, records: list[Record]) -> None:
        """These are durable."""
        self._committed += len(records)
        self._progress.update(self._task, description=self._description())

    def _description(self) -> str:
        return f"{self._committed:,} of {self._messages:,} stored"
