"""`ingest doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

import msgspec
import typer

from ingest.cli import output
from ingest.cli.application import starts_workers
from ingest.cli.shown import failure, pause, standing_of
from ingest.cli.sign_in import named
from ingest.errors import IngestError, StateError, StateUnavailable
from ingest.model import Mailbox
from ingest.settings import from_environment

if TYPE_CHECKING:
    from ingest.bootstrap import Application
    from ingest.state.connect import Persistence

_CLOCK_SECONDS = 5.0  # that two clocks may differ before it is worth a word
_LATE_SECONDS = 300.0  # that a mailbox may be overdue, or an event wait
_LITTLE_ROOM = 256 * 1024 * 1024  # octets free on a disk
_MOST_MAILBOXES = 20  # with something wrong, named one by one

_MARKS = {"ok": "ok", "warning": "!", "wrong": "WRONG"}


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    subject: str
    verdict: Literal["ok", "warning", "wrong"]
    message: str
    remedy: str = ""
    exit_code: int = 0  # not 0 where it is wrong

    @classmethod
    def of(cls, subject: str, error: IngestError) -> Finding:
        """What an error says."""
        return cls(subject, "wrong", str(error), error.remedy, error.exit_code)


def doctor(*, json: output.Json = False) -> None:
    """Check everything: what is wrong, and what to do.

    Settings, Redis and what it keeps, the store's rights and clock, mailboxes, their last sessions
    and their passwords.
    JSON: an array of findings. Warnings alone leave the exit code at 0.
    """
    findings = list(_examine())
    if json:
        output.print_json(findings)
    else:
        _print(findings)
    raise typer.Exit(next((each.exit_code for each in findings if each.exit_code), 0))


def _print(findings: list[Finding]) -> None:
    rows = []
    for finding in findings:
        rows.append((_MARKS[finding.verdict], finding.subject, finding.message))
        if finding.remedy and finding.verdict != "ok":
            rows.append(("", "", f"→ {finding.remedy}"))
    output.print_table(["", "what", "finding"], rows, wrapped=["finding"])


def _examine() -> Iterator[Finding]:
    """Look at everything, as far as one can get."""
    from ingest.bootstrap import open_application
    from ingest.intake.stop import Shutdown
    from ingest.observability.logging import configure

    try:
        settings = from_environment()
        yield Finding("settings", "ok", f"all fit; home is {Path(settings.home).absolute()}")
        configure(settings.log_format, "critical")
        at_once = Shutdown()
        at_once.begin(0)  # otherwise a request that fails is repeated, for a minute
        with open_application(settings, at_once) as application:
            parts: tuple[tuple[str, Callable[[Application], Iterator[Finding]]], ...] = (
                ("redis", _redis),
                ("store", _store),
                ("mailboxes", _mailboxes),
                ("deletes", _brake),
                ("workers", _workers),
                ("events", _events),
            )
            for subject, look in parts:
                try:
                    yield from look(application)
                except IngestError as error:
                    if settings.embedded and isinstance(error, StateUnavailable):
                        raise  # what started it knows more
                    yield Finding.of(subject, error)
    except IngestError as error:
        yield Finding.of("redis" if isinstance(error, StateError) else "settings", error)


def _redis(application: Application) -> Iterator[Finding]:
    from ingest.state.commands import Commands
    from ingest.state.connect import persistence

    settings = application.settings
    found = persistence(application.redis)
    kind = "embedded Valkey" if settings.embedded else "Redis"
    yield Finding("redis", "ok", f"{kind} {found.version}: {found.sentence}")
    yield from _warned("redis", found)
    if settings.embedded:
        yield from _room("redis", settings.valkey_directory)
    redis = Commands(application.redis)
    redis.run("SET", redis.key("probe"), "", "EX", 1)
    yield from _clock("redis", application.schedule.now() - time.time())


def _store(application: Application) -> Iterator[Finding]:
    probe = application.store.probe()
    failed = {step: error for step, error in probe.steps.items() if error}
    if "write" in failed:
        failed.pop("read", None)  # there was nothing to read
    for step, error in failed.items():
        yield Finding.of("store", type(error)(f"{step}: {error}", remedy=error.remedy))
    if not failed:
        yield Finding("store", "ok", f"{', '.join(probe.steps)} work")
    if probe.checksums is False:
        yield Finding(
            "store",
            "warning",
            "it accepts octets whose checksum is wrong, so damage on the way goes unseen",
            "use a store that checks, such as Amazon S3, MinIO, Ceph or SeaweedFS",
        )
    place = urlsplit(application.settings.store_url)
    if place.scheme == "file" and not failed:
        yield from _room("store", Path(unquote(place.path)))
    yield from _clock("store", probe.clock_skew)
    if not failed:
        yield from _index(application)


def _warned(subject: str, found: Persistence) -> Iterator[Finding]:
    for warning in found.warnings:
        what, _, remedy = warning.partition(": ")
        yield Finding(subject, "warning", what, remedy)


def _room(subject: str, directory: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(directory).free
    if free < _LITTLE_ROOM:
        yield Finding(
            subject,
            "warning",
            f"only {output.octets(free)} are free on the disk of {directory}",
            "free space there before it is full: mail stays on its servers then",
        )


def _index(application: Application) -> Iterator[Finding]:
    """Whether Redis is the index of this very store.

    Raises:
        StoreChanged: it is not.
    """
    with suppress(StateError):  # said already
        if application.checkpoints.lost():
            application.read_back.restore_mailboxes()
            yield Finding(
                "redis", "ok", "new, or lost its data: a worker reads it back before it polls"
            )
        elif not application.settings.embedded and not application.checkpoints.whole():
            yield Finding(
                "redis", "ok", "was restarted: a worker compares it with the store before it polls"
            )


def _clock(subject: str, skew: float) -> Iterator[Finding]:
    if abs(skew) > _CLOCK_SECONDS:
        where = "ahead of" if skew > 0 else "behind"
        yield Finding(
            subject,
            "warning",
            f"its clock is {abs(skew):.0f} s {where} this machine's",
            "let both synchronise their clocks (NTP)",
        )


def _mailboxes(application: Application) -> Iterator[Finding]:
    mailboxes, unreadable = application.registry.list(), application.registry.unreadable()
    for error in unreadable:
        yield Finding.of("mailboxes", error)
    told = 0
    for mailbox in mailboxes:
        for finding in _mailbox(application, mailbox):
            told += 1
            if told <= _MOST_MAILBOXES:
                yield finding
    if not mailboxes and not unreadable:
        yield Finding("mailboxes", "ok", "none yet: ingest mailbox add NAME pop3s://USER@HOST")
    elif not told and not unreadable:
        many = output.counted(len(mailboxes), "mailbox", "mailboxes")
        yield Finding("mailboxes", "ok", f"{many}, no session fails, every password can be read")
    elif told > _MOST_MAILBOXES:
        yield Finding("mailboxes", "warning", f"{told - _MOST_MAILBOXES} more findings like these")


def _mailbox(application: Application, mailbox: Mailbox) -> Iterator[Finding]:
    """What is wrong with one mailbox; nothing where all is well."""
    subject = f"mailbox {mailbox.name}"
    if mailbox.paused:
        yield Finding(
            subject,
            "warning",
            pause(mailbox),
            f"ingest mailbox resume {mailbox.name}",
        )
    elif failed := failure(mailbox, standing_of(application, mailbox)):
        yield Finding(subject, "warning", failed)
    if mailbox.tls == "none":
        yield Finding(
            subject,
            "warning",
            "not encrypted: anybody on the way reads its password and mail",
            "add it again as pop3s://, or as pop3:// without --plaintext",
        )
    if mailbox.ca_file and not Path(mailbox.ca_file).is_file():
        yield Finding(
            subject, "wrong", f"{mailbox.ca_file} is not here", "put the authorities there", 4
        )
    try:
        with named(mailbox):
            application.keyring.reveal(mailbox.password, mailbox.id)
    except IngestError as error:
        yield Finding.of(subject, error)


def _brake(application: Application) -> Iterator[Finding]:
    if reason := application.brake.reason():
        yield Finding(
            "deletes",
            "warning",
            f"the brake is on: {reason}",
            "ingest brake release, when it is safe",
        )
    else:
        yield Finding("deletes", "ok", "nothing stops them")


def _workers(application: Application) -> Iterator[Finding]:
    from ingest.state.presence import Presence

    depth = application.schedule.depth()
    late = depth.lag_seconds > _LATE_SECONDS
    overdue = (
        f"{output.counted(depth.due, 'mailbox', 'mailboxes')} overdue, "
        f"the longest for {depth.lag_seconds / 60:.0f} minutes"
        if late
        else "no mailbox is overdue"
    )
    if not Presence(application.redis).seen():
        yield Finding(
            "workers",
            "warning",
            f"none was seen within the last minute; {overdue}",
            f"run a worker and a beat: {starts_workers(application.settings)}",
        )
    elif late:
        yield Finding("workers", "warning", overdue, "run a beat, or more workers")
    else:
        yield Finding("workers", "ok", f"{overdue}, {depth.leased} in a session")


def _events(application: Application) -> Iterator[Finding]:
    from ingest.state.connect import connect, persistence

    settings = application.settings
    if settings.events_url:
        with connect(settings.events_url) as client:
            yield from _warned("events", persistence(client))
    waiting, age = application.outbox.depth(), application.outbox.age_seconds()
    if waiting and age > _LATE_SECONDS:
        yield Finding(
            "events",
            "warning",
            f"{output.counted(waiting, 'event')} wait, the oldest for {age / 60:.0f} minutes",
            "read the log of a worker that relays, or run one",
        )
    else:
        yield Finding("events", "ok", f"{waiting} wait for the stream {settings.events_stream}")
