"""What the demo runs: servers of its own, and the workers as anybody would start them."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from ingest.bootstrap import Application
from ingest.cli.application import opened
from ingest.cli.children import Child, Children, ingest_arguments
from ingest.cli.demo import seaweedfs
from ingest.cli.demo.messages import maildrops
from ingest.cli.demo.server import DemoServer
from ingest.cli.output import say
from ingest.cli.sign_in import register
from ingest.errors import StoreUnavailable
from ingest.model import Mailbox
from ingest.state.registry import new_mailbox_id
from ingest.state.secrets import new_key

_GRACE_SECONDS = 10.0
_STORE_SECONDS = 30.0
_LOG_LINES = 15  # of a program that ended, shown


class Stage(NamedTuple):
    """What is running."""

    home: Path
    settings: Mapping[str, str]  # environment variables, to come back with --keep
    server: DemoServer
    application: Application
    mailboxes: Mapping[str, Mailbox]  # by user name
    worker: Child
    programs: tuple[Child, ...]  # none of which may end

    def died(self) -> str:
        """What ended too early and the end of its log; empty while all run."""
        for program in self.programs:
            if program.process.poll() is not None:
                lines = log_of(self.home, program.name).read_text(errors="replace").splitlines()
                return "\n".join([f"{program.name} ended:", *lines[-_LOG_LINES:]])
        return ""


@contextmanager
def set_up(home: Path, *, s3: bool) -> Iterator[Stage]:
    """Start everything in `home`, register the mailboxes; stop everything at the end."""
    settings = _settings(home)
    with _store(home, settings, s3=s3) as weed:
        _become(settings)
        password = secrets.token_urlsafe(12)
        with (
            DemoServer(maildrops(), password=password, directory=home) as server,
            opened() as application,
            Children(grace_seconds=_GRACE_SECONDS, tell=say) as children,
        ):
            _wait_for_store(application)
            mailboxes = {
                user: _register(application, server, user, password) for user in maildrops()
            }
            worker, beat = (children.add(_program(home, name)) for name in ("worker", "beat"))
            programs = (worker, beat, *weed)
            yield Stage(home, settings, server, application, mailboxes, worker, programs)


def log_of(home: Path, program: str) -> Path:
    """Where a program of the demo writes its log."""
    return home / f"{program}.log"


def _settings(home: Path) -> dict[str, str]:
    keys = home / "keys"
    keys.touch(0o600)
    keys.write_text(new_key())
    return {
        "INGEST_HOME": str(home),
        "INGEST_KEYS_FILE": str(keys),
        "INGEST_DEPLOYMENT": "demo",
        "INGEST_POLL_SECONDS": "1",
        "INGEST_POLL_SECONDS_MAX": "5",
        "INGEST_CONCURRENCY": "8",
        "INGEST_METRICS_PORT": "0",
    }


def _become(settings: Mapping[str, str]) -> None:
    """Let these be the only settings, here and in what is started from here."""
    for name in [name for name in os.environ if name.startswith("INGEST_")]:
        del os.environ[name]
    os.environ.update(settings)


@contextmanager
def _store(home: Path, settings: dict[str, str], *, s3: bool) -> Iterator[tuple[Child, ...]]:
    """SeaweedFS, if that is wanted; its settings join the others."""
    if not s3:
        yield ()
        return
    weed = seaweedfs.prepare(home / "seaweedfs")
    settings.update(weed.settings)
    with log_of(home, "seaweedfs").open("wb") as log:
        child = Child("seaweedfs", weed.arguments, environment=weed.settings, output=log)
    try:
        yield (child,)
    finally:
        # It takes half a minute to end by itself; what it stored is durable all the same.
        child.signal_group(signal.SIGKILL)
        child.process.wait()


def _program(home: Path, name: str) -> Child:
    with log_of(home, name).open("wb") as log:
        return Child(name, ingest_arguments(name), environment={}, output=log)


def _wait_for_store(application: Application) -> None:
    deadline = time.monotonic() + _STORE_SECONDS
    while not application.store.probe().usable:
        if time.monotonic() > deadline:
            raise StoreUnavailable("the demo's object store did not start in time")
        time.sleep(0.2)


def _register(application: Application, server: DemoServer, user: str, password: str) -> Mailbox:
    mailbox = Mailbox(
        id=new_mailbox_id(),
        name=user,
        tenant="blue-wren",
        host="localhost",
        port=server.port,
        username=user,
        password="",
        ca_file=str(server.certificate),
    )
    reference = application.keyring.seal(password, mailbox.id)
    mailbox = msgspec.structs.replace(mailbox, password=reference)
    register(application, mailbox)
    return mailbox
