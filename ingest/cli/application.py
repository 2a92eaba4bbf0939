"""How a command gets the parts of the system."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

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
    from ingest.bootstrap import open_application
    from ingest.observability.logging import configure

    settings = settings or from_environment()
    # A command says itself what happened; its log is for whoever debugs it.
    level = "debug" if settings.log_level == "debug" else "critical"
    configure(settings.log_format, level)
    with open_application(settings) as application:
        yield application
