"""`ingest audit`: what became of each message, and proof that what was deleted is stored."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ingest.cli import history, output
from ingest.cli.application import opened_with_mailboxes
from ingest.errors import ProofFailed

if TYPE_CHECKING:
    from ingest.bootstrap import Application
    from ingest.cli.auditor import Audited, Finding

_SHORT_ID = 12

_EVENTS = {
    "accepted": "events accepted by {}",
    "waiting": "events waiting for {}",
    "unknown": "events unknown for {}",
}
_NO_SINK = "events asked for by no sink yet"
_ON_THE_SERVER = {
    "confirmed": "deleted on its server",
    "open": "perhaps still on its server",
    "unknown": "no longer known whether its server has it",
}


class Summary(msgspec.Struct, kw_only=True):
    """The last line that `--json` prints."""

    since: datetime | None  # None: the whole log
    sample: int | None  # None: all
    messages: int = 0
    proven: int = 0
    octets: int = 0  # proven
    seconds: float = 0.0
    brake: str = ""  # why nothing may be deleted; empty: it may


def audit(
    mailbox: Annotated[
        str, typer.Argument(help="Only of this mailbox (name or id).", show_default=False)
    ] = "",
    *,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="How far back: 2h, 7d, 2026-10-05; else all of it.")
    ] = "",
    sample: Annotated[
        int, typer.Option(min=0, max=10_000, help="Only so many, at random; 0: all.")
    ] = 0,
    json: output.Json = False,
) -> None:
    """Show what became of each message, and prove that it can be had back, octet for octet.

    Each message is rebuilt from the store, and its size, its SHA-256 and those of its parts are
    compared. Exit code 7 where one can't be proven; if that is because objects are damaged or
    missing, the brake is pulled, so that nothing more is deleted.

    JSON: one message a line, and then {"messages", "proven", "brake", ...}.
    """
    begin = history.since(since) if since else None
    summary = Summary(since=begin, sample=sample or None)
    started = time.monotonic()
    with opened_with_mailboxes() as application:
        wanted = application.registry.get(mailbox).id if mailbox else ""
        for audited, verdict in _findings(application, wanted, begin, sample):
            if verdict.lost:
                application.brake.pull(f"audit: {verdict.key} {verdict.reason}")
            summary.messages += 1
            if verdict.outcome == "proven":
                summary.proven += 1
                summary.octets += audited.octets or 0
            if json:
                output.print_json(audited)
            else:
                typer.echo(output.visible(_line(audited)))
        summary.brake = application.brake.reason()
    summary.seconds = round(time.monotonic() - started, 3)
    _end(summary, json=json)


def _findings(
    application: Application, mailbox: str, begin: datetime | None, sample: int
) -> Iterator[Finding]:
    """All findings, with a bar on the terminal.

    Raises:
        StoreUnavailable: the store gives nothing any more.
    """
    from ingest.cli.auditor import Auditor
    from ingest.cli.progress import along, bar
    from ingest.objects.audit import Patience

    auditor, patience = Auditor(application, mailbox, begin), Patience()
    fraction = along(begin, application.store.now())
    messages = 0
    with bar() as show:
        for (batch, _), findings in auditor.sample(sample) if sample else auditor.everything():
            for finding in findings:
                yield finding
                patience.note(finding[1])
            messages += len(findings)
            show(messages / sample if sample else fraction(batch), f"{messages:,} messages")
        if not sample:
            yield from auditor.vanished()


def _line(audited: Audited) -> str:
    who = f"{audited.mailbox} {audited.record}".strip() or _place(audited)
    if audited.proof != "proven":
        wrong = f"{audited.object} {audited.reason}; {_ON_THE_SERVER[audited.deleted]}"
        return f"NOT PROVEN  {who}: {wrong} → {audited.remedy}"
    listed = f"listed as {audited.unique_id}" if audited.unique_id else "listed without unique-id"
    when = f" {output.moment(audited.committed_at)}" if audited.committed_at else ""
    chain = [
        f"{listed} ({audited.listed_octets:,} octets)",
        f"stored ({audited.octets:,} octets, SHA-256 {audited.sha256[:_SHORT_ID]})",
        f"committed{when} in {audited.batch}",
        *([_EVENTS[state].format(sink) for sink, state in audited.events.items()] or [_NO_SINK]),
        f"delete {audited.deleted}",
    ]
    return f"proven  {who}: {', '.join(chain)}"


def _place(audited: Audited) -> str:
    """What a message is called whose record can't be read."""
    if audited.index is None:
        return f"all of batch {audited.batch}"
    return f"message {audited.index} of batch {audited.batch}"


def _end(summary: Summary, *, json: bool) -> None:
    """The last line.

    Raises:
        ProofFailed: something was not proven.
    """
    if json:
        output.print_json(summary)
    else:
        since = f" since {output.moment(summary.since)}" if summary.since else ""
        few = f" of {summary.sample:,} asked for" if summary.sample else ""
        typer.echo(
            f"{output.counted(summary.proven, 'message')} ({output.octets(summary.octets)}) proven"
            f"{few}{since} in {summary.seconds:.1f} s"
        )
    if failed := summary.messages - summary.proven:
        braked = f"; nothing is deleted any more: {summary.brake}" if summary.brake else ""
        raise ProofFailed(
            f"{output.counted(failed, 'message')} can't be proven{braked}",
            remedy="mend what is named above and audit again; then: ingest brake release",
        )
