"""`ingest mailbox apply`: make the mailboxes those that a file declares."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
import typer

from ingest.cli import declared, output
from ingest.cli.application import opened_with_mailboxes
from ingest.cli.changes import forget, put_in_place, signs_in_alike
from ingest.cli.difference import Change, Difference, difference
from ingest.cli.progress import bar
from ingest.cli.shown import address_of
from ingest.cli.sign_in import sign_in
from ingest.errors import IngestError, RegistryError, SettingsError, StateUnavailable
from ingest.model import Mailbox

if TYPE_CHECKING:
    from ingest.bootstrap import Application

_T = TypeVar("_T")
_R = TypeVar("_R")

_ROUNDS = 10  # each one that somebody else changed something in meanwhile
_AT_ONCE = 8  # sign-ins, or new mailboxes: each waits for a server

_NOTHING = "nothing is changed"

_MARKS = {"added": "+", "changed": "~", "paused": "=", "removed": "-"}


class Changed(msgspec.Struct):
    """One mailbox that is another one now, or would be."""

    name: str
    id: str  # empty: it has none yet
    fields: list[str]  # what changed of it


class Applied(msgspec.Struct, kw_only=True):
    """What was done, or would be."""

    source: str
    dry_run: bool
    unchanged: int
    added: list[Changed] = []
    changed: list[Changed] = []
    paused: list[Changed] = []
    removed: list[Changed] = []


def apply(
    file: Annotated[
        str, typer.Argument(help="JSON or YAML; - is standard input.", show_default=False)
    ],
    *,
    source: Annotated[
        str, typer.Option(help="What these declarations are called; each name has its own.")
    ] = "file",
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take over mailboxes that were added by hand.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Forget what is no longer declared; else, pause it.")
    ] = False,
    test: Annotated[
        bool, typer.Option("--test", help="Sign in first; change nothing if any of it fails.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
    ] = False,
    json: output.Json = False,
) -> None:
    """Add, change and pause mailboxes until they are those that a file declares.

    The file: {"mailboxes": [{"name", "address", "password", "delete", "tenant", "ca_file",
    "plaintext", "paused"}, ...]}, of which name, address and password are needed. A password is
    env:NAME or file:PATH, where the workers run. Commands refuse then to change these mailboxes.

    One that is no longer declared is paused; declared again, it goes on where it was. Other
    sources' mailboxes are left alone. Where anything is wrong, nothing is changed.

    Example: ingest mailbox apply mailboxes.yaml --dry-run

    JSON: {"added": [{"name", "id", "fields"}], "changed", "paused", "removed", "unchanged", ...}.
    """
    if not (source.strip() and source.isprintable()):
        raise typer.BadParameter("the source is empty, or has characters that don't print")
    wanted = _wanted(file)
    with opened_with_mailboxes() as application:
        _refuse_unread(application)

        def differs(so_far: str = "the rest is applied") -> Difference:
            found = _difference(application, wanted, source, adopt=adopt, prune=prune)
            _refuse(map(RegistryError, found.conflicts), so_far)
            return found

        found = differs(_NOTHING)
        if test:
            _sign_in_all(application, found.changes)
        if dry_run:
            done: Sequence[Change] = found.changes
        else:
            done = _apply(application, found, differs)
    _print(done, source, found.unchanged, dry_run=dry_run, json=json)


def _wanted(file: str) -> list[Mailbox]:
    """What the file declares.

    Raises:
        SettingsError: it can't be read.
        typer.Exit: some of it is wrong, and is told.
    """
    try:
        octets = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise SettingsError(
            f"can't read {file}: {error.strerror}", remedy="name a file that is there"
        ) from error
    wanted, wrong = declared.read(octets)
    _refuse(SettingsError(each, remedy="correct it") for each in wrong)
    return wanted


def _refuse(errors: Iterable[IngestError], so_far: str = _NOTHING) -> None:
    """Tell all that is wrong, if anything is, and end.

    Raises:
        typer.Exit: something is.
    """
    code = 0
    for error in errors:
        output.print_error(error)
        code = error.exit_code
    if code:
        output.say(so_far)
        raise typer.Exit(code)


def _refuse_unread(application: Application) -> None:
    """Refuse to compare with a Redis that does not know all mailboxes.

    Raises:
        StateUnavailable: somebody else is about to tell it.
    """
    if application.checkpoints.epoch() is None and application.checkpoints.read() is None:
        raise StateUnavailable("Redis is being told what the store has", remedy="try again soon")


def _difference(
    application: Application, wanted: Sequence[Mailbox], source: str, *, adopt: bool, prune: bool
) -> Difference:
    from ingest.state.registry import new_mailbox_id

    kept = application.registry.list()
    return difference(wanted, kept, source, new_mailbox_id, adopt=adopt, prune=prune)


def _sign_in_all(application: Application, changes: Sequence[Change]) -> None:
    """Sign in to each mailbox that is new, or would sign in differently.

    Raises:
        typer.Exit: some can't, and are told.
    """
    tried = [
        change.after
        for change in changes
        if change.after and not change.after.paused
        if not (change.seen and signs_in_alike(change.after, change.seen))
    ]

    def failure(mailbox: Mailbox) -> IngestError | None:
        try:
            sign_in(application, mailbox)
        except IngestError as error:
            error.args = (f"mailbox {mailbox.name!r}: {error}",)
            return error
        return None

    failures = []
    with bar() as show:
        for number, error in enumerate(_several(failure, tried), 1):
            show(number / len(tried), f"signing in: {number:,} of {len(tried):,}")
            failures.append(error)
    _refuse(error for error in failures if error)


def _apply(
    application: Application, found: Difference, differs: Callable[[], Difference]
) -> list[Change]:
    """Make the changes, and those that follow if somebody else makes some meanwhile.

    Raises:
        RegistryError: somebody else makes others all the time.
    """
    done: list[Change] = []
    problem = RegistryError(
        "somebody else changes the same mailboxes again and again",
        remedy="see who else applies declarations with this source",
    )
    for _ in range(_ROUNDS):
        with bar() as show:
            for number, (change, error) in enumerate(_make_all(application, found.changes), 1):
                if error:  # outrun: is there still anything to be done?
                    problem = error
                else:
                    done.append(change)
                show(number / len(found.changes), f"{number:,} of {len(found.changes):,}")
        found = differs()
        if not found.changes:
            return done
    raise problem


def _make_all(
    application: Application, changes: Sequence[Change]
) -> Iterator[tuple[Change, RegistryError | None]]:
    """Make the changes, those in their order that may free a name or an account for others."""

    def made(change: Change) -> tuple[Change, RegistryError | None]:
        try:
            _make(application, change)
        except RegistryError as error:
            return change, error
        return change, None

    yield from map(made, (change for change in changes if change.seen))
    yield from _several(made, [change for change in changes if not change.seen])


def _several(do: Callable[[_T], _R], with_each: Sequence[_T]) -> Iterator[_R]:
    """Do it with several at a time; the results in their order."""
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        yield from pool.map(do, with_each)
    finally:
        pool.shutdown(cancel_futures=True)


def _make(application: Application, change: Change) -> None:
    """Make one change. Many at once are spread over the shortest interval.

    Raises:
        RegistryError: the mailbox is not what was seen any more.
    """
    from ingest.state.schedule import spread

    mailbox = change.mailbox
    due_in = spread(mailbox.id, application.settings.poll_seconds)
    if change.after is None:
        forget(application, mailbox)
    elif change.seen:
        put_in_place(application, mailbox, change.seen, due_in)
    else:
        application.registry.add(mailbox)
        if not mailbox.paused:
            application.schedule.schedule(mailbox, due_in)


def _print(
    changes: Sequence[Change], source: str, unchanged: int, *, dry_run: bool, json: bool
) -> None:
    told = Applied(source=source, dry_run=dry_run, unchanged=unchanged)
    for change in changes:
        new_and_dry = dry_run and change.kind == "added"
        mailbox_id = "" if new_and_dry else change.mailbox.id
        of_kind: list[Changed] = getattr(told, change.kind)
        of_kind.append(Changed(change.mailbox.name, mailbox_id, change.fields))
    if json:
        output.print_json(told)
        return
    for change in changes:
        typer.echo(output.visible(f"{_MARKS[change.kind]} {_described(change)}"))
    numbers = [f"{len(getattr(told, kind)):,} {kind}" for kind in _MARKS]
    would = "nothing is changed yet; it would be: " if dry_run else ""
    typer.echo(f"{would}{', '.join(numbers)}, {unchanged:,} unchanged")


def _described(change: Change) -> str:
    mailbox = change.mailbox
    match change.kind:
        case "added":
            paused = f", paused: {mailbox.paused}" if mailbox.paused else ""
            return f"{mailbox.name}: {address_of(mailbox)}, delete {mailbox.delete}{paused}"
        case "changed":
            return f"{mailbox.name}: {', '.join(change.fields)}"
        case "paused":
            return f"{mailbox.name}: {mailbox.paused}"
        case "removed":
            return f"{mailbox.name}: forgotten; its stored messages stay where they are"
