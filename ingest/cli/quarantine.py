"""`ingest quarantine`: messages that were stored unparsed, or that sessions skip."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ingest.cli import output
from ingest.cli.application import opened
from ingest.cli.events import names
from ingest.errors import IngestError

if TYPE_CHECKING:
    from ingest.bootstrap import Application
    from ingest.model import Record
    from ingest.state.quarantine import Quarantined

app = typer.Typer(
    help="Messages that were stored unparsed, or that sessions skip.", no_args_is_help=True
)

Stored = Annotated[
    str,
    typer.Argument(
        metavar="RECORD", help="The record's id, or the beginning of it.", show_default=False
    ),
]


class Listing(msgspec.Struct):
    """One message, as JSON shows it."""

    mailbox: str
    record: str = ""  # empty: it is still on its server
    batch: str = ""
    unique_id: str = ""
    attempts: int = 0


@app.command("list")
def list_(*, json: output.Json = False) -> None:
    """List both kinds.

    JSON: an array.
    """
    with opened() as application:
        listings = _listings(application)
    if json:
        output.print_json(listings)
    elif listings:
        output.print_table(
            ["mailbox", "stored as", "on the server as", "attempts"],
            [
                (each.mailbox, each.record, each.unique_id, str(each.attempts or ""))
                for each in listings
            ],
            right=["attempts"],
        )
    else:
        typer.echo("nothing is in quarantine, and nothing is skipped")


@app.command()
def show(record: Stored, *, json: output.Json = False) -> None:
    """Show what is known of a quarantined message.

    JSON: its record.
    """
    with opened() as application:
        found = _record(application, _find(application, record))
        mailbox = names(application.registry)(found.mailbox)
    if json:
        output.print_json(found)
        return
    output.print_facts(
        [
            ("record", found.id),
            ("mailbox", mailbox),
            ("retrieved", output.moment(found.retrieved_at)),
            ("octets", f"{found.octets:,}"),
            ("SHA-256", found.sha256),
            ("batch", found.batch),
        ]
    )


@app.command()
def export(record: Stored) -> None:
    """Write a quarantined message as its server sent it, octet for octet."""
    from ingest.objects.commits import rebuild_message

    with opened() as application:
        found = _record(application, _find(application, record))
        for octets in rebuild_message(application.store, found):
            sys.stdout.buffer.write(octets)
        sys.stdout.buffer.flush()


@app.command()
def retry(
    record: Annotated[
        str,
        typer.Argument(
            help="The record's id; or, of a skipped message, its unique-id.", show_default=False
        ),
    ],
    *,
    mailbox: Annotated[str, typer.Option(help="Whose skipped message it is.")] = "",
    json: output.Json = False,
) -> None:
    """Parse a stored message again, or let the next session try a skipped one.

    A stored one gets a version of its record and an event of the type
    mail-ingest.message.reparsed.v1, and leaves quarantine.

    JSON: {"version"}, the new record's id; empty for a skipped message.
    """
    with opened() as application:
        if mailbox:
            _forgive(application, mailbox, record)
            version = ""
        else:
            version = _reparse(application, _find(application, record))
    if json:
        output.print_json({"version": version})
    elif version:
        typer.echo(f"parsed; the new version is {version}")
    else:
        typer.echo("the next session tries it as if it were new")


@app.command()
def discard(record: Stored, *, yes: output.Yes = False, json: output.Json = False) -> None:
    """Take a stored message out of quarantine. Its octets stay stored.

    JSON: {"record"}.
    """
    with opened() as application:
        found = _find(application, record)
        output.confirm(f"Take {found.record_id} out of quarantine?", yes=yes)
        application.quarantine.discard(found.record_id)
    output.print_outcome(
        {"record": found.record_id}, f"{found.record_id} is out of quarantine", json=json
    )


def _listings(application: Application) -> list[Listing]:
    name_of = names(application.registry)
    listings = [
        Listing(name_of(each.mailbox), record=each.record_id, batch=each.batch)
        for each in sorted(application.quarantine.stored(), key=lambda each: each.batch)
    ]
    for mailbox in application.registry.list():
        listings += [
            Listing(mailbox.name, unique_id=each.unique_id, attempts=each.attempts)
            for each in application.quarantine.skipped(mailbox.id)
        ]
    return listings


def _find(application: Application, record: str) -> Quarantined:
    """The quarantined message whose record's id is or begins so.

    Raises:
        IngestError: there is none.
        typer.BadParameter: there are several.
    """
    found = [each for each in application.quarantine.stored() if each.record_id.startswith(record)]
    if not found:
        raise IngestError(
            f"no message {record[:40]!r} is in quarantine", remedy="ingest quarantine list"
        )
    if len(found) > 1:
        raise typer.BadParameter(f"{len(found)} ids begin with {record}: give more of it")
    return found[0]


def _record(application: Application, found: Quarantined) -> Record:
    for record in application.log.records(found.batch):
        if record.id == found.record_id:
            return record
    raise IngestError(
        f"batch {found.batch} has no record {found.record_id}",
        remedy="ingest audit finds out what is wrong with the store",
    )


def _reparse(application: Application, found: Quarantined) -> str:
    from ingest.objects.commits import rebuild_message

    record = _record(application, found)
    octets = rebuild_message(application.store, record)
    version = application.reparse(record, octets, datetime.now(UTC))
    application.quarantine.discard(found.record_id)
    application.relay().drain()
    return version.id


def _forgive(application: Application, mailbox: str, unique_id: str) -> None:
    found = application.registry.get(mailbox)
    if not application.quarantine.forgive(found.id, unique_id):
        raise IngestError(
            f"mailbox {found.name!r} skips no message {unique_id[:70]!r}",
            remedy="ingest quarantine list",
        )
