"""How long a server may keep a session waiting."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ingest.errors import DeadlineExceeded

# A wait is cut into slices, so that a shutdown or a lost lease ends it within a second.
SLICE_SECONDS = 1.0


class Deadlines(msgspec.Struct, frozen=True):
    """The limits of one session. None bounds a whole message: a large one takes its time."""

    connect_seconds: float = 30.0  # for the connection, and again for the TLS handshake
    idle_seconds: float = 60.0  # without a complete reply or an octet of a message
    minimum_rate: float = 256.0  # octets per second within messages and listings
    window_seconds: float = 60.0  # of waiting, over which that rate is averaged


class Patience:
    """Counts the time spent waiting for the server, and only that: our own work costs nothing.

    Args:
        deadlines: the limits.
        peer: names mailbox and server in errors.
        stop: called before every wait and every second while waiting; ends it by raising.
    """

    def __init__(self, deadlines: Deadlines, peer: str, stop: Callable[[], None]) -> None:
        self.deadlines = deadlines
        self._stop = stop
        self._peer = peer
        self._quiet = 0.0
        self._window = 0.0
        self._octets = 0

    def check(self) -> None:
        """To be called before each wait.

        Raises:
            DeadlineExceeded: the server was idle for too long.
            SessionStopped: `stop` said so.
        """
        self._stop()
        if self._quiet >= self.deadlines.idle_seconds:
            raise DeadlineExceeded(
                f"{self._peer}: the server was idle for {self.deadlines.idle_seconds:g} s",
                remedy="if it is only slow, raise the limit INGEST_IDLE_SECONDS",
            )

    def waited(self, seconds: float) -> None:
        """So long was waited, whether octets came or not: a reply in drops is idleness too."""
        self._quiet += seconds

    def progress(self) -> None:
        """The server said something that is complete in itself."""
        self._quiet = 0.0

    def received(self, octets: int, seconds: float) -> None:
        """So many octets of a message or a listing came, after so long.

        Raises:
            DeadlineExceeded: they came slower than the minimum rate over a whole window.
        """
        self._window += seconds
        self._octets += octets
        if self._window < self.deadlines.window_seconds:
            return
        rate = self._octets / self._window
        if rate < self.deadlines.minimum_rate:
            raise DeadlineExceeded(
                f"{self._peer}: the server sent {rate:.0f} octets per second for "
                f"{self._window:.0f} s, less than {self.deadlines.minimum_rate:g}",
                remedy="if the line is that slow, lower the limit INGEST_MINIMUM_RATE",
            )
        self._window, self._octets = 0.0, 0
