"""A worker with a fault in it: `python -m tests.faults.armed GROUP [POINT TIMES [SIGNAL]]`.

It claims, holds sessions and relays, as the tasks do, with the real store and Redis, until it is
killed. At the so-manieth time that it comes to the point it sends itself the signal: KILL, which is
kill -9, or STOP, which makes it a zombie until it gets CONT.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import timedelta
from itertools import count

from ingest import failpoints
from ingest.bootstrap import open_application
from ingest.failpoints import Failpoint
from ingest.objects.sweep import sweep
from ingest.observability.logging import configure
from ingest.settings import from_environment
from ingest.state import outbox, readback


def main(group: str, point: str = "", times: str = "1", name: str = "KILL") -> None:
    """Work until the end."""
    reached = count(1)

    def strike(here: Failpoint) -> None:
        if here == point and next(reached) == int(times):
            os.kill(os.getpid(), signal.Signals[f"SIG{name}"])

    failpoints.hook = strike
    # What a dead one left is taken over after a minute or two otherwise.
    outbox.ABANDONED_MS, outbox.ADOPT_EVERY = 2_000, 1  # type: ignore[misc]  # Final, but for tests
    readback.LOCK_SECONDS = 2  # type: ignore[misc]
    settings = from_environment()
    configure("json", "info")
    with open_application(settings) as application:
        poller, relay = application.poller(), application.relay()
        while True:
            application.prepare()
            poller.poll_group(group)
            relay.drain()
            if point == "batch-swept":
                sweep(application.store, age=timedelta())
            time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
