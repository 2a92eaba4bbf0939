"""Makes a parser of every process that finds this on its path one that some messages kill."""

from __future__ import annotations

import os
import signal

from ingest.mime.splitter import Splitter
from ingest.model import Octets

_feed = Splitter.feed


def _feed_or_die(splitter: Splitter, octets: Octets) -> object:
    if b"\nX-Poison:" in bytes(octets):
        os.kill(os.getpid(), signal.SIGKILL)
    return _feed(splitter, octets)


Splitter.feed = _feed_or_die  # type: ignore[assignment, method-assign]
