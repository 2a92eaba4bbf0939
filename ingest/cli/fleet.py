"""`ingest worker`, `beat`, `up` and `demo`: the processes that run."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from ingest.cli import output
from ingest.cli.children import Child, Children, ingest_arguments
from ingest.errors import StateError, StateUnavailable
from ingest.settings import Settings, from_environment

_LANES = ("poll", "relay", "maintenance")
_GRACE_MARGIN = 5.0  # seconds beyond the worker's own grace period before it is killed


def worker(
    *,
    lanes: Annotated[str, typer.Option(help="The queues it works on, comma-separated.")] = ",".join(
        _LANES
    ),
) -> None:
    """Run a worker: it polls mailboxes and relays events."""
    if not set(lanes.split(",")) <= set(_LANES):
        raise typer.BadParameter(f"--lanes is some of {', '.join(_LANES)}, comma-separated")
    settings = _runnable()
    _become_celery(
        "worker",
        "--queues",
        lanes,
        "--loglevel",
        settings.log_level,
        "--without-mingle",
        "--without-gossip",
    )


def beat() -> None:
    """Run the clock of the workers. More than one does no harm."""
    settings = _runnable()
    _become_celery("beat", "--loglevel", settings.log_level)


def up() -> None:
    """Run a worker and a beat, and what they need, until Ctrl-C.

    Without INGEST_REDIS_URL that is a Valkey in the home directory; without INGEST_STORE mail is
    stored in a directory there. A program that dies is started again.
    """
    from ingest.bootstrap import open_application

    settings = from_environment()
    with _valkey(settings) as revive, open_application(settings) as application:
        mailboxes = len(application.registry.list())
        output.print_facts(_places(settings, mailboxes))
        with (
            _ended_by_signals() as ended,
            Children(grace_seconds=settings.grace_seconds + _GRACE_MARGIN, tell=output.say) as all_,
        ):
            for name in ("worker", "beat"):
                all_.add(Child(name, ingest_arguments(name), environment={}))
            all_.keep_running(ended, revive)
            output.say("stopping: sessions finish what they have ...")
    output.say("stopped")


@contextmanager
def _valkey(settings: Settings) -> Iterator[Callable[[], None]]:
    """The embedded Valkey, where it is used, and what starts it again where it died.

    Raises:
        SettingsError, StateUnavailable: it does not come up, now or again.
    """
    if not settings.embedded:
        yield lambda: None
        return
    from ingest.state.embedded import EmbeddedValkey

    def revive() -> None:
        if not valkey.runs():
            output.say("the embedded Valkey ended; again now")
            valkey.start()

    with EmbeddedValkey(settings.valkey_directory) as valkey:
        yield revive


def demo(
    *,
    s3: Annotated[
        bool, typer.Option("--s3", help="Store in SeaweedFS over S3, not in a directory.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep everything, to look around afterwards.")
    ] = False,
) -> None:
    """See it work, here and now, without any account.

    Starts a POP3 server with thirty messages in three mailboxes, empties it with the real worker,
    shows what came of it, and rebuilds the largest message to compare it with what the server had.
    """
    from ingest.cli.demo.run import run

    raise typer.Exit(run(s3=s3, keep=keep))


def _runnable() -> Settings:
    """The settings, where there is a Redis to work with.

    Raises:
        StateUnavailable: there is none.
    """
    from ingest.bootstrap import redis_url
    from ingest.state.connect import connect, translated

    settings = from_environment()
    if settings.embedded:
        try:
            with connect(redis_url(settings)) as client, translated():
                client.ping()
        except StateError:
            raise StateUnavailable(
                "no Redis to work with: INGEST_REDIS_URL is not set, and no Valkey runs in "
                f"{settings.valkey_directory}",
                remedy="set INGEST_REDIS_URL, or run `ingest up`, which brings its own",
            ) from None
    return settings


def _become_celery(*arguments: str) -> None:
    """Replace this process by Celery's, which keeps its id and so gets its signals."""
    sys.stdout.flush()
    celery = [sys.executable, "-m", "celery", "--quiet", "--app", "ingest.tasks.app", *arguments]
    os.execv(sys.executable, celery)  # noqa: S606 - our own Python


@contextmanager
def _ended_by_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM and a closed terminal set, instead of ending us at once."""
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heard = [number for number in wanted if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in heard}
    try:
        yield ended
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _places(settings: Settings, mailboxes: int) -> list[tuple[str, str]]:
    redis = str(settings.valkey_directory) if settings.embedded else "INGEST_REDIS_URL"
    places = [
        ("mailboxes", f"{mailboxes}" + ("" if mailboxes else "  (ingest mailbox add)")),
        ("home", str(Path(settings.home).absolute())),
        ("store", settings.store_url),
        ("redis", redis),
        ("events", f"stream {settings.events_stream}  (ingest events tail)"),
    ]
    if settings.metrics_port:
        host = "localhost" if settings.metrics_host == "0.0.0.0" else settings.metrics_host  # noqa: S104 - compared
        places.append(("metrics", f"http://{host}:{settings.metrics_port}/metrics"))
    return [*places, ("stop", "Ctrl-C")]
