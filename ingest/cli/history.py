"""Finding messages in the log of commit objects, the newest first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

import typer

from ingest.cli import output
from ingest.cli.progress import Show, along
from ingest.errors import IngestError, ObjectMissing, ProofFailed, StoreError
from ingest.intake.ports import ObjectStore
from ingest.model import Record
from ingest.objects import keys
from ingest.objects.log import StoreLog

if TYPE_CHECKING:
    from ingest.state.commands import Ahead

_HOUR = timedelta(hours=1)
_LAST_HOUR = 23  # of a day
_HOURLY = timedelta(hours=48)  # this far back the log is listed by the hour, beyond by the day
LATE = timedelta(hours=6)  # between the begin of a batch, which names its key, and its commit
_SPAN = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DATAREF = re.compile(r"([0-7][0-9A-HJKMNP-TV-Z]{25})/commit\.zip#(\d{1,6})/record\.json")
_SHORTEST_ID = 6
_OLDEST = datetime(1970, 1, 1, tzinfo=UTC)  # what ULIDs begin with


def _silently(_fraction: float, _sentence: str) -> None:
    """Show nothing."""


def since(text: str) -> datetime:
    """Read `2h`, `7d`, `2026-10-05` or `2026-10-05T08:00`, in the local time zone.

    Raises:
        typer.BadParameter: it is none of those.
    """
    try:
        if found := _SPAN.fullmatch(text):
            begin = datetime.now(UTC) - timedelta(seconds=int(found[1]) * _UNITS[found[2]])
        else:
            begin = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is no time: use 2h, 7d, 2026-10-05 or 2026-10-05T08:00"
        ) from None
    return max(begin, _OLDEST)


def records(
    store: ObjectStore,
    begin: datetime,
    *,
    ahead: Ahead = map,
    show: Show = _silently,
    damaged: Callable[[StoreError], object] = output.print_error,
) -> Iterator[Record]:
    """Every record of messages retrieved at or after that time, the newest batch first.

    Args:
        store: where the log is.
        begin: that time.
        ahead: how commit objects are read.
        show: is told how far back this has come.
        damaged: is told of each commit object that is passed over, since it can't be read.

    Raises:
        StoreError: the log can't be read.
    """
    log = StoreLog(store)
    fraction = along(begin, store.now())

    def read(batch: str) -> Sequence[Record] | StoreError:
        try:
            return log.records(batch)
        except (ProofFailed, ObjectMissing) as error:
            return error

    for batch in ahead(read, _batches(store, begin)):
        if isinstance(batch, StoreError):
            damaged(batch)
            continue
        for record in reversed(batch):
            if record.retrieved_at >= begin:
                yield record
        if batch:
            show(1 - fraction(batch[0].batch), f"back to {output.moment(batch[0].retrieved_at)}")


def find(
    store: ObjectStore,
    message: str,
    begin: datetime,
    *,
    ahead: Ahead = map,
    show: Show = _silently,
) -> Record:
    """The record of that id, of that beginning of an id, or that an event's `dataref` names.

    `ahead` and `show` are as for `records`.

    Raises:
        IngestError: there is none since that time.
        typer.BadParameter: several ids begin so, or too little of one is given.
    """
    if named := _DATAREF.search(message):
        with suppress(ObjectMissing):
            for record in StoreLog(store).records(named[1]):
                if record.index == int(named[2]):
                    return record
    elif len(message) < _SHORTEST_ID:
        raise typer.BadParameter(f"give at least {_SHORTEST_ID} characters of the id")
    found: dict[str, Record] = {}
    for record in records(store, begin, ahead=ahead, show=show):
        if record.id.startswith(message.lower()):
            found.setdefault(record.id, record)
            if record.id == message:
                break
    if len(found) > 1:
        raise typer.BadParameter(f"{len(found)} ids begin with {message}: give more of it")
    if not found:
        raise IngestError(
            f"no message {message[:40]!r} since {begin:%Y-%m-%d}",
            remedy="ingest message list shows the ids; --since looks further back",
        )
    return next(iter(found.values()))


def _batches(store: ObjectStore, begin: datetime) -> Iterator[str]:
    for prefix in _prefixes(store, begin - LATE):
        found = (keys.parse(stored.key) for stored in store.list(prefix))
        committed = [key.batch for key in found if key and key.name == "commit.zip"]
        yield from reversed(committed)


def _prefixes(store: ObjectStore, begin: datetime) -> Iterator[str]:
    """Key prefixes that cover the time from `begin` to now, the newest first.

    A month or a year in which nothing was stored costs one request, however many days it has.
    """

    @cache
    def is_silent(prefix: str) -> bool:
        return next(store.list(prefix), None) is None

    now = store.now()
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + _HOUR
    while hour + _HOUR > begin:
        prefix = keys.hour_prefix(hour)
        day, month, year = (prefix.rsplit("/", parts)[0] + "/" for parts in (2, 3, 4))
        if hour.hour != _LAST_HOUR or now - hour <= _HOURLY:
            yield prefix
            hour -= _HOUR
        elif is_silent(year):
            hour = hour.replace(month=1, day=1, hour=0) - _HOUR
        elif is_silent(month):
            hour = hour.replace(day=1, hour=0) - _HOUR
        else:
            yield day
            hour -= 24 * _HOUR
