"""A clock of its own for a server that a test starts: it steps, while time goes on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

PACKAGE = "faketime"


def program() -> str | None:
    """What is to be loaded into the server, or None: the package is not installed."""
    found = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    return next(map(str, found), None)


class Clock:
    """Says how far from the true time it is.

    Args:
        path: a new file, in seconds; who has the clock reads it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.step(timedelta())

    def step(self, offset: timedelta) -> None:
        """Set it, so far from the true time. Waits and deadlines do not notice."""
        new = self.path.with_suffix(".new")
        new.write_text(f"{offset.total_seconds():+.0f}")
        new.replace(self.path)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a server is started with."""
        return {
            "LD_PRELOAD": str(program()),
            "FAKETIME_TIMESTAMP_FILE": str(self.path),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
