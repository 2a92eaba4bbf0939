"""A worker or beat with a clock of its own: `python -m tests.faults.stepped worker|beat FILE`.

The file says how many seconds it is ahead of the true time. Files get the true time, as they do
where a store is elsewhere.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from types import SimpleNamespace

from celery import Celery
from celery.__main__ import main as run_celery
from celery.worker import request

from ingest.intake import session
from ingest.objects import directory


def main(role: str, path: str) -> None:
    """Become it."""
    true_time, file = time.time, Path(path)

    def wrong() -> float:
        return true_time() + float(file.read_text())

    def now(zone: tzinfo = UTC) -> datetime:
        return datetime.fromtimestamp(wrong(), zone)

    time.time, time.time_ns = wrong, lambda: int(wrong() * 1e9)
    for module in (session, directory, request):
        module.datetime = SimpleNamespace(now=now)  # type: ignore[attr-defined]  # a stand-in
    Celery.now = lambda app: now(app.timezone)  # type: ignore[method-assign,assignment]  # likewise
    sys.argv = ["celery", "--quiet", "--app", "ingest.tasks.app", role]
    if role == "worker":
        sys.argv += ["--queues", "poll,relay,maintenance", "--loglevel", "info"]
    run_celery()


if __name__ == "__main__":
    main(*sys.argv[1:])
