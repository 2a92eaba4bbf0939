"""What a worker at a site finds on its path: shorter waits, and a fault if `DRILL=POINT:FAULT`."""

from __future__ import annotations

import os
import signal
import time
from functools import partialmethod

from ingest import failpoints
from ingest.intake import canary, policy, pressure
from ingest.intake.message import Draft
from ingest.objects.budget import Budget
from ingest.observability import metrics
from tests.drills.hurried import SPEED

for module, names in {
    policy: ("_BUSY_DELAY", "_UNREADABLE_DELAY", "_LONGEST_DELAY"),
    pressure: ("_STORE_SECONDS",),
    canary: ("EVERY_SECONDS", "MISSING_SECONDS"),
}.items():
    for name in names:
        setattr(module, name, type(vars(module)[name])(vars(module)[name] / SPEED))
Budget.__init__ = partialmethod(Budget.__init__, patience=300 / SPEED)  # type: ignore[assignment, method-assign]
policy._SIGN_IN_DELAYS = (1.0, 2.0, 3.0)

_point, _, _fault = os.environ.get("DRILL", "").partition(":")


def _strike(here: failpoints.Failpoint) -> None:
    if here != _point:
        return
    match _fault:
        case "hangs":
            time.sleep(1e6)
        case "dawdles":
            time.sleep(20)
        case "breaks":
            raise ZeroDivisionError
        case "deletes-without-evidence":
            metrics.deletes_without_evidence.inc()


failpoints.hook = _strike

_feed = Draft.feed


def _feed_or_die(draft: Draft, octets: memoryview) -> None:
    """Die of a message, whether or not it is parsed."""
    if b"\nX-Cursed:" in bytes(octets):
        os.kill(os.getpid(), signal.SIGKILL)
    _feed(draft, octets)


if _fault == "dies-of-some":
    Draft.feed = _feed_or_die  # type: ignore[assignment, method-assign]
