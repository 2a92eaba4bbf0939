"""`ingest demo`: empty three maildrops with the real workers, and show what came of it."""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ingest.cli import events, history, output
from ingest.cli.demo.messages import LARGE_MAILBOX, LARGE_UNIQUE_ID, maildrops
from ingest.cli.demo.stage import Stage, set_up
from ingest.events.schema import CloudEvent

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE_SECONDS = 60.0  # for everything to arrive
_BLOCK_MS = 200


def run(*, s3: bool, keep: bool) -> int:
    """Run the demo; 0 when every message arrived and was deleted on its server, 1 otherwise."""
    home = Path(tempfile.mkdtemp(prefix="ingest-demo-"))
    typer.echo("Starting a POP3 server with mail, an object store, Valkey, a worker and a beat ...")
    try:
        with set_up(home, s3=s3) as stage:
            complete = _show(stage)
            if keep:
                _tell_where_to_look(stage, s3=s3)
        return 0 if complete else 1
    finally:
        if keep:
            typer.echo(f"Everything is kept in {home}: remove it when you are done.")
        else:
            shutil.rmtree(home, ignore_errors=True)


def _show(stage: Stage) -> bool:
    waiting = {user: len(stage.server.waiting(user)) for user in stage.mailboxes}
    started = time.monotonic()
    arrived = _collect(stage, sum(waiting.values()))
    took = time.monotonic() - started
    memory = _peak_memory(stage.worker.pid)
    typer.echo("")
    _print_result(stage, arrived)
    typer.echo("")
    problems = _problems(stage, arrived, waiting)
    if not problems:
        typer.echo(f"Everything arrived in {took:.1f} s, and was deleted on the server after that.")
    if memory:
        largest = output.octets(max(event.data.octets for event in arrived)) if arrived else "0"
        typer.echo(f"The worker's peak memory: {output.octets(memory)} (largest mail: {largest}).")
    problems += _compare_largest(stage, arrived)
    for problem in problems:
        output.say(f"error: {problem}")
    return not problems


def _collect(stage: Stage, expected: int) -> list[CloudEvent]:
    """Show events as they come until all are here and the maildrops are empty."""
    application = stage.application
    name_of = events.names(application.registry)
    arrived: dict[str, CloudEvent] = {}
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with _lines(expected) as show:
        for arrival in events.read(application, "0", block_ms=_BLOCK_MS):
            if arrival is not None:
                if arrival.event.id not in arrived:
                    arrived[arrival.event.id] = arrival.event
                    show(events.describe(arrival.event, name_of(arrival.event.data.mailbox)))
                continue
            left = sum(len(stage.server.waiting(user)) for user in stage.mailboxes)
            if (len(arrived) >= expected and not left) or time.monotonic() > deadline:
                break
            if stage.died():
                break
    return list(arrived.values())


@contextmanager
def _lines(expected: int) -> Iterator[Callable[[str], None]]:
    """Lines, with a bar below them on a terminal."""
    console = output.console()
    if not console.is_terminal:
        yield typer.echo
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), "messages", TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=expected)

        def show(line: str) -> None:
            progress.console.print(line, no_wrap=True, overflow="ellipsis")
            progress.advance(task)

        yield show


def _print_result(stage: Stage, arrived: Sequence[CloudEvent]) -> None:
    rows = []
    for user, mailbox in stage.mailboxes.items():
        mine = [event.data for event in arrived if event.data.mailbox == mailbox.id]
        rows.append(
            (
                user,
                len(mine),
                output.octets(sum(message.octets for message in mine)),
                sum(bool(part.filename) for message in mine for part in message.parts),
                sum(bool(part.uri) for message in mine for part in message.parts),
                sum(len(message.defects) for message in mine),
                len(mine),
                len(stage.server.waiting(user)),
            )
        )
    columns = ["mailbox", "messages", "size", "files", "objects", "defects", "events", "left there"]
    output.print_table(columns, [[str(cell) for cell in row] for row in rows], right=columns[1:])


def _problems(stage: Stage, arrived: Sequence[CloudEvent], waiting: dict[str, int]) -> list[str]:
    problems = [died] if (died := stage.died()) else []
    for user, mailbox in stage.mailboxes.items():
        mine = [event for event in arrived if event.data.mailbox == mailbox.id]
        if len(mine) != waiting[user]:
            problems.append(f"{user}: {len(mine)} of {waiting[user]} messages arrived")
        if left := len(stage.server.waiting(user)):
            problems.append(f"{user}: {output.counted(left, 'message')} left on the server")
    return problems


def _compare_largest(stage: Stage, arrived: Sequence[CloudEvent]) -> list[str]:
    """Rebuild the largest message from what is stored, and compare it with what the server had."""
    if not arrived:
        return []
    from ingest.objects.commits import rebuild_message

    largest = max(arrived, key=lambda event: event.data.octets)
    had = next(
        message.octets
        for message in maildrops()[LARGE_MAILBOX]
        if message.unique_id == LARGE_UNIQUE_ID
    )
    application = stage.application
    record = history.find(application.store, largest.dataref, history.since("1d"))
    at = 0
    for octets in rebuild_message(application.store, record):
        if octets != had[at : at + len(octets)]:
            return [f"the rebuilt message differs from what the server had, near octet {at:,}"]
        at += len(octets)
    if at != len(had):
        return [f"the rebuilt message has {at:,} octets, the server's had {len(had):,}"]
    typer.echo(
        f"The largest mail, rebuilt from its {output.counted(len(record.parts), 'part')}: "
        f"all {at:,} octets are those that the server had."
    )
    return []


def _tell_where_to_look(stage: Stage, *, s3: bool) -> None:
    """Commands that work on what was kept, for a shell."""
    typer.echo("\nLook around (in this shell):")
    for name, value in stage.settings.items():
        typer.echo(f"  export {name}={shlex.quote(value)}")
    if s3:
        weed = shlex.join(stage.programs[-1].arguments)
        typer.echo(f"  {weed} >/dev/null 2>&1 &")
    commands = (
        "ingest mailbox list",
        "ingest message list --limit 50",
        "ingest message show ID",
        "ingest message save ID parts",
        "ingest message cat ID | less",
        "ingest events tail --from-start --no-follow --json",
    )
    for command in commands:
        typer.echo(f"  {command}")


def _peak_memory(pid: int) -> int:
    """The most memory a process has had, in octets; 0 where the system doesn't tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0
