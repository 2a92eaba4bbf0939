"""What ends a session early: the end of the process, or of the lease."""

from __future__ import annotations

import time
from collections.abc import Callable

from ingest.errors import LeaseLost, SessionStopped
from ingest.model import Lease


class Shutdown:
    """The end of the process: final when the grace period is over."""

    def __init__(self) -> None:
        self._deadline: float | None = None

    def begin(self, grace_seconds: float) -> None:
        """Finish what is started within so many seconds; start nothing more.

        Begun again, it may end sooner, never later.
        """
        deadline = time.monotonic() + grace_seconds
        if self._deadline is None or deadline < self._deadline:
            self._deadline = deadline

    @property
    def closing(self) -> bool:
        """Whether it has begun."""
        return self._deadline is not None

    @property
    def final(self) -> bool:
        """Whether the grace period is over."""
        return self._deadline is not None and time.monotonic() >= self._deadline


class SessionStop:
    """The `Stop` of one session.

    Args:
        lease: the session's right to the mailbox.
        lost: whether the lease is lost.
        shutdown: the end of the process.
        beat: called by every check, which is at least every second: the session is at work.
    """

    def __init__(
        self,
        lease: Lease,
        lost: Callable[[Lease], bool],
        shutdown: Shutdown,
        beat: Callable[[], None],
    ) -> None:
        self._lease = lease
        self._lost = lost
        self._shutdown = shutdown
        self._beat = beat

    @property
    def closing(self) -> bool:
        """Start no more messages."""
        return self._shutdown.closing

    def check(self) -> None:
        """Raises SessionStopped or LeaseLost where the session must end now."""
        self._beat()
        if self._lost(self._lease):
            raise LeaseLost(
                f"mailbox {self._lease.mailbox}: the lease was lost, another worker may hold it",
                remedy="see whether Redis is slow, or this worker was stopped for a while",
            )
        if self._shutdown.final:
            raise SessionStopped(
                f"mailbox {self._lease.mailbox}: the worker's grace period is over",
                remedy="raise INGEST_GRACE_SECONDS where sessions need longer to end",
            )
