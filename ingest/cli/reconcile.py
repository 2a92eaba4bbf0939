"""`ingest reconcile`: rebuild from the object store what Redis keeps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ingest.cli import history, output
from ingest.cli.application import opened
from ingest.errors import ObjectMissing, ProofFailed, StoreError
from ingest.model import Record
from ingest.objects.keys import begun

if TYPE_CHECKING:
    from ingest.bootstrap import Application
    from ingest.objects.log import StoreLog

_A_DAY = 10_000_000  # messages, that the cost is projected to
_SECONDS, _MINUTES = 90, 90 * 60  # so many are told in seconds, in minutes


class Projection(msgspec.Struct):
    """What it would cost to read back so many messages like those that were read."""

    messages: int
    requests: int
    seconds: float


class Reconciled(msgspec.Struct):
    """What was done."""

    since: datetime | None  # of batches' begins; None: the whole log was read
    batches: int = 0  # read
    records: int = 0
    events: int = 0  # put into the outbox anew
    damaged: int = 0  # batches that can't be read
    objects: int = 0  # listed
    requests: int = 0  # to the store
    seconds: float = 0.0
    projected: Projection | None = None  # None: nothing was read


def reconcile(
    *,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="How far back: 2h, 7d, 2026-10-05; else all of it.")
    ] = "",
    json: output.Json = False,
) -> None:
    """Rebuild ledger and outbox from the object store.

    Safe at any time and any number of times, also beside workers: what Redis knows stays as it is.
    Of the whole log, events that every sink is known to have are not put again. Since a time, all
    are of whose messages Redis does not know: after a damaged object was restored, or where sinks
    lost what they had. Their ids are the same. Workers notice by themselves where Redis lost data.

    JSON: {"batches", "records", "events", "requests", "seconds", "projected", ...}.
    """
    begin = history.since(since) if since else None
    with opened() as application:
        lost = application.read_back.run_if_lost()
        application.read_back.restore_mailboxes()  # where a worker is at it, and not done
        done = _read_back(application, begin)
    if lost:
        done.events += lost.events
    if json:
        output.print_json(done)
    else:
        output.print_facts(_facts(done))
    if done.damaged:
        raise ProofFailed(
            f"{output.counted(done.damaged, 'commit object')} can't be read: see above",
            remedy="restore what is named there, and reconcile again",
        )


def _read_back(application: Application, begin: datetime | None) -> Reconciled:
    from ingest.cli.progress import along, bar
    from ingest.objects.counted import CountedStore
    from ingest.objects.log import StoreLog

    done = Reconciled(begin)
    counted = CountedStore(application.store)
    checkpoint = application.checkpoints.read()
    accepted = checkpoint.before if checkpoint else None
    polled = application.registry.ids()
    fraction = along(begin, application.store.now())
    started = time.monotonic()
    with bar() as show:
        for batch, records in _batches(application, StoreLog(counted), done):
            done.batches += 1
            done.records += len(records)
            wanted = records
            if accepted and begun(batch) < accepted:  # then every sink had its events
                wanted = [record for record in records if record.mailbox in polled]
                if not begin:
                    wanted = [msgspec.structs.replace(record, events=()) for record in wanted]
            done.events += application.ledger.restore(batch, wanted)
            show(fraction(batch), f"{done.records:,} records")
    done.seconds = round(time.monotonic() - started, 3)
    done.objects, done.requests = counted.listed, counted.requests
    if done.records:
        times = _A_DAY / done.records
        done.projected = Projection(
            _A_DAY, round(done.requests * times), round(done.seconds * times)
        )
    return done


def _batches(
    application: Application, log: StoreLog, done: Reconciled
) -> Iterator[tuple[str, list[Record]]]:
    """Every batch and its records, read ahead; those that are damaged are said and counted."""
    from ingest.objects.ahead import ahead

    def read(batch: str) -> tuple[str, list[Record] | StoreError]:
        try:
            return batch, log.records(batch)
        except (ProofFailed, ObjectMissing) as error:
            return batch, error

    batches = log.committed(done.since and done.since - history.LATE)
    for batch, records in ahead(application.committer, read, batches):
        if isinstance(records, StoreError):
            output.print_error(records)
            done.damaged += 1
        else:
            yield batch, records


def _facts(done: Reconciled) -> list[tuple[str, str]]:
    since = f"since {output.moment(done.since)}" if done.since else "the whole log"
    read = f"{output.counted(done.batches, 'batch', 'batches')}, {done.records:,} records ({since})"
    facts = [
        ("read", read),
        ("put anew", output.counted(done.events, "event")),
        ("listed", output.counted(done.objects, "object")),
        ("asked", f"{output.counted(done.requests, 'request')} to the store"),
        ("took", _span(done.seconds)),
    ]
    if day := done.projected:
        cost = f"{output.counted(day.requests, 'request')} and {_span(day.seconds)}"
        facts.append(("projected", f"{cost} for a day of {day.messages:,} messages like these"))
    return facts


def _span(seconds: float) -> str:
    if seconds < _SECONDS:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < _MINUTES else f"{seconds / 3600:.1f} h"
