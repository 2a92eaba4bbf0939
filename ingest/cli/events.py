"""`ingest events`: see what consumers of the Redis Stream see."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import typer

from ingest.cli import output
from ingest.cli.application import opened
from ingest.errors import RegistryError
from ingest.events.schema import CloudEvent, json_schema
from ingest.intake.ports import Mailboxes

if TYPE_CHECKING:
    from ingest.bootstrap import Application

app = typer.Typer(help="Events as consumers see them.", no_args_is_help=True)

_BLOCK_MS = 2000  # shorter than the client waits for an answer
_AT_ONCE = 100


class Arrival(NamedTuple):
    """One entry of the stream."""

    json: bytes  # the event exactly as it was published
    event: CloudEvent


@app.callback()
def _group() -> None:
    """Events as consumers see them."""


@app.command()
def tail(
    *,
    count: Annotated[int, typer.Option(min=0, help="Stop after so many; 0: go on.")] = 0,
    from_start: Annotated[bool, typer.Option(help="Begin with the oldest one kept.")] = False,
    follow: Annotated[bool, typer.Option(help="Wait for more.")] = True,
    json: output.Json = False,
) -> None:
    """Show events as they come in.

    JSON: one CloudEvent a line, exactly as it was published.
    """
    with opened() as application:
        arrivals = read(application, "0" if from_start else "$")
        name_of = names(application.registry)
        shown = 0
        for arrival in arrivals:
            if arrival is None:
                if not follow:
                    break
                continue
            if json:
                sys.stdout.buffer.write(arrival.json + b"\n")
                sys.stdout.buffer.flush()
            else:
                event = arrival.event
                line = describe(event, name_of(event.data.mailbox))
                typer.echo(f"{output.moment(event.time)}  {line}")
            shown += 1
            if shown == count:
                break


@app.command()
def schema() -> None:
    """Print the JSON schema of the events."""
    output.print_json(json_schema())


def read(
    application: Application, after: str, *, block_ms: int = _BLOCK_MS
) -> Iterator[Arrival | None]:
    """The stream's entries after that id; None whenever nothing came for a while.

    Raises:
        StateError: Redis failed.
    """
    from ingest.state.connect import connect, translated

    settings = application.settings
    client = connect(settings.events_url) if settings.events_url else application.redis
    if after == "$":
        # Resolved once: between two reads, "$" would skip what came meanwhile.
        with translated():
            newest: Any = client.xrevrange(settings.events_stream, count=1)
        after = newest[0][0].decode() if newest else "0"
    while True:
        with translated():
            found: Any = client.xread(
                {settings.events_stream: after}, count=_AT_ONCE, block=block_ms
            )
        if not found:
            yield None
            continue
        for entry, fields in found[0][1]:
            after = entry.decode()
            yield Arrival(fields[b"event"], msgspec.json.decode(fields[b"event"], type=CloudEvent))


def names(registry: Mailboxes) -> Callable[[str], str]:
    """The name of a mailbox by its id, asked for once; the id where it is gone."""

    @cache
    def name(mailbox: str) -> str:
        try:
            return registry.get(mailbox).name
        except RegistryError:
            return mailbox

    return name


def describe(event: CloudEvent, mailbox: str) -> str:
    """An event as one line, whose columns stand below those of others."""
    message = event.data
    sender = message.envelope.sender[0] if message.envelope.sender else "(no sender)"
    facts = [sender]
    if attachments := sum(bool(part.filename) for part in message.parts):
        facts.append(output.counted(attachments, "file"))
    if message.defects:
        facts.append(output.counted(len(message.defects), "defect"))
    columns = (
        output.fitted(mailbox, 12),
        f"{output.octets(message.octets):>9}",
        output.fitted(message.envelope.subject or "(no subject)", 30),
        output.visible(", ".join(facts)),
    )
    return "  ".join(columns)
