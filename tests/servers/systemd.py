"""systemd's own judge of units. Nothing here needs it to run."""

from __future__ import annotations

import shutil

PACKAGE = "systemd"


def program() -> str | None:
    """Where it is, or None: the package is not installed."""
    return shutil.which("systemd-analyze")
