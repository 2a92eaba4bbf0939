"""`ingest message`: look at what is stored, and get it back."""

from __future__ import annotations

import sys
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ingest.cli import history, output
from ingest.cli.application import opened, opened_with_mailboxes
from ingest.cli.events import names
from ingest.cli.progress import bar
from ingest.errors import ProofFailed, StoreError
from ingest.model import Defect, Record

if TYPE_CHECKING:
    from ingest.bootstrap import Application
    from ingest.state.commands import Ahead

app = typer.Typer(help="The messages that are stored.", no_args_is_help=True)

_SHORT_ID = 12

Message = Annotated[
    str,
    typer.Argument(help="Its id, the beginning of it, or an event's dataref.", show_default=False),
]
Since = Annotated[
    str, typer.Option(metavar="TIME", help="How far back: 2h, 7d, 2026-10-05, 2026-10-05T08:00.")
]


class Listing(msgspec.Struct, kw_only=True):
    """A message as `list --json` prints it."""

    id: str
    mailbox: str  # its name, where it is still known
    tenant: str
    retrieved_at: datetime
    octets: int
    sender: tuple[str, ...]
    subject: str
    date: str
    classification: str
    files: tuple[str, ...]
    defects: tuple[str, ...]
    dataref: str


@app.command("list")
def list_(
    *,
    mailbox: Annotated[str, typer.Option(help="Only of this mailbox (name or id).")] = "",
    since: Since = "30d",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    json: output.Json = False,
) -> None:
    """List stored messages, the newest first.

    JSON: an array.
    """
    begin = history.since(since)
    damaged: list[StoreError] = []
    with opened_with_mailboxes() as application:
        wanted = application.registry.get(mailbox).id if mailbox else ""
        name_of = names(application.registry)
        with bar() as show:
            found = history.records(
                application.store,
                begin,
                ahead=_ahead(application),
                show=show,
                damaged=damaged.append,
            )
            chosen = (record for record in found if not wanted or record.mailbox == wanted)
            listings = [
                _listing(application, record, name_of(record.mailbox))
                for record in islice(chosen, limit)
            ]
    if json:
        output.print_json(listings)
    elif listings:
        _print_listings(listings)
    elif not damaged:
        typer.echo(f"no message since {output.moment(begin)}")
    for error in damaged:
        output.print_error(error)
    if damaged:
        raise ProofFailed(
            f"{output.counted(len(damaged), 'commit object')} can't be read: see above",
            remedy="restore what is named there; all others are listed",
        )


@app.command()
def show(message: Message, *, since: Since = "30d", json: output.Json = False) -> None:
    """Show what is known of a message.

    JSON: its record.
    """
    with opened() as application:
        record = _find(application, message, since)
        mailbox = names(application.registry)(record.mailbox)
        key = application.log.record_uri(record.batch, record.index)
    if json:
        output.print_json(record)
        return
    output.print_facts(_facts(record, mailbox, key))
    if record.parts:
        typer.echo("")
        output.print_table(
            ["part", "type", "encoding", "octets", "file", "stored"],
            [
                (
                    part.path,
                    part.content_type,
                    part.encoding,
                    f"{part.octets:,}",
                    part.filename,
                    part.key or "in the skeleton",
                )
                for part in record.parts
            ],
            right=["octets"],
        )


@app.command()
def cat(message: Message, *, since: Since = "30d") -> None:
    """Write a message as its server sent it, octet for octet.

    Its SHA-256 is compared at the end: exit code 7 where it differs.
    """
    from ingest.objects.commits import rebuild_message

    with opened() as application:
        record = _find(application, message, since)
        for octets in rebuild_message(application.store, record):
            sys.stdout.buffer.write(octets)
        sys.stdout.buffer.flush()


@app.command()
def save(
    message: Message,
    directory: Annotated[Path, typer.Argument(help="Made if it is missing.", show_default=False)],
    *,
    since: Since = "30d",
    json: output.Json = False,
) -> None:
    """Save a message's parts, decoded, as files.

    Never overwrites a file. JSON: an array of files.
    """
    from ingest.cli.saving import save_parts

    with opened() as application:
        record = _find(application, message, since)
        saved = save_parts(application.store, record, directory)
    if json:
        output.print_json(saved)
        return
    for file in saved:
        typer.echo(output.visible(f"{file.path}  ({output.octets(file.octets)})"))
    if not saved:
        typer.echo("it has no parts; ingest message cat has all of it")


def _find(application: Application, message: str, since: str) -> Record:
    begin = history.since(since)
    with bar() as show:
        return history.find(application.store, message, begin, ahead=_ahead(application), show=show)


def _ahead(application: Application) -> Ahead:
    from ingest.objects.ahead import ahead

    return partial(ahead, application.committer)


def _listing(application: Application, record: Record, mailbox: str) -> Listing:
    return Listing(
        id=record.id,
        mailbox=mailbox,
        tenant=record.tenant,
        retrieved_at=record.retrieved_at,
        octets=record.octets,
        sender=record.envelope.sender,
        subject=record.envelope.subject,
        date=record.envelope.date,
        classification=record.envelope.classification,
        files=tuple(part.filename for part in record.parts if part.filename),
        defects=tuple(defect.name for defect in record.defects),
        dataref=application.log.record_uri(record.batch, record.index),
    )


def _print_listings(listings: list[Listing]) -> None:
    output.print_table(
        ["id", "retrieved", "mailbox", "size", "files", "from", "subject"],
        [
            (
                listing.id[:_SHORT_ID],
                output.moment(listing.retrieved_at),
                listing.mailbox,
                output.octets(listing.octets),
                str(len(listing.files) or ""),
                listing.sender[0] if listing.sender else "",
                listing.subject,
            )
            for listing in listings
        ],
        right=["size", "files"],
    )


def _facts(record: Record, mailbox: str, key: str) -> list[tuple[str, str]]:
    envelope = record.envelope
    facts = [
        ("id", record.id),
        ("mailbox", f"{mailbox} (tenant {record.tenant})"),
        ("from", ", ".join(envelope.sender)),
        ("to", ", ".join(envelope.to)),
        ("cc", ", ".join(envelope.cc)),
        ("subject", envelope.subject),
        ("date", envelope.date),
        ("message-id", envelope.message_id),
        ("kind", "" if envelope.classification == "message" else envelope.classification),
        ("preview", record.preview),
        ("retrieved", output.moment(record.retrieved_at)),
        ("octets", f"{record.octets:,}"),
        ("sha256", record.sha256),
        ("unique-id", record.unique_id or "(none, or listed more than once)"),
        ("record", key),
        ("skeleton", record.skeleton.key or "in the commit object"),
        ("defects", ", ".join(_defect(defect) for defect in record.defects)),
        ("events", ", ".join(event.type for event in record.events)),
    ]
    return [(name, value) for name, value in facts if value]


def _defect(defect: Defect) -> str:
    facts = ", ".join(filter(None, (defect.part and f"part {defect.part}", defect.note)))
    return f"{defect.name} ({facts})" if facts else defect.name
