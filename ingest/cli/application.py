"""How a command gets the parts of the system."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ingest.memory import importing
from ingest.settings import Settings, from_environment

if TYPE_CHECKING:
    from ingest.bootstrap import Application


@contextmanager
def opened(settings: Settings | None = None) -> Iterator[Application]:
    """The parts, for the duration of a command.

    Raises:
        SettingsError: a setting is wrong.
        StateError: Redis can't be reached.
    """
    settings = settings or from_environment()
    with _valkey(settings):
        from ingest.bootstrap import open_application
        from ingest.observability.logging import configure

        # A command says itself what happened; its log is for whoever debugs it.
        level = "debug" if settings.log_level == "debug" else "critical"
        configure(settings.log_format, level)
        with open_application(settings) as application:
            yield application


@contextmanager
def opened_with_mailboxes() -> Iterator[Application]:
    """The same, for a command that asks for mailboxes: a Redis that lost them knows them again.

    Raises:
        SettingsError: a setting is wrong.
        StateError, StoreError: Redis can't be reached, or the store where Redis lost its data.
    """
    with opened() as application:
        application.read_back.restore_mailboxes()
        yield application


def starts_workers(settings: Settings) -> str:
    """What starts a worker and a beat: here, or where the parts of a fleet run."""
    return "ingest up" if settings.embedded else "ingest worker, ingest beat"


def workers_missed(application: Application) -> str:
    """What to do where no worker was seen that would poll a new mailbox; else nothing."""
    from ingest.state.presence import Presence

    if Presence(application.redis).seen():
        return ""
    return f"; none was seen within the last minute: run {starts_workers(application.settings)}"


@contextmanager
def _valkey(settings: Settings) -> Iterator[None]:
    """The embedded Valkey, where it is used: it comes up while the rest is imported."""
    if not settings.embedded:
        yield
        return
    from ingest.state.embedded import EmbeddedValkey

    valkey = EmbeddedValkey(settings.valkey_directory)
    try:
        with ThreadPoolExecutor(1) as aside, importing():
            starting = aside.submit(valkey.start)
            importlib.import_module("ingest.bootstrap")
        starting.result()
        yield
    finally:
        valkey.stop()
