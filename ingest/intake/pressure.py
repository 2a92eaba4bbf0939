"""Back-pressure: when store, Redis or sinks are in trouble, mail is safe where it is."""

from __future__ import annotations

import time
from collections.abc import Callable

from ingest.errors import BuffersTaken, StateError, StoreError
from ingest.intake.ports import Brake

# Events in the outbox from which on nothing more is claimed.
_MOST_WAITING = 1_000_000
_LOOK_EVERY_SECONDS = 5.0
_STORE_SECONDS = 15.0
_REDIS_SECONDS = 5.0


class BackPressure:
    """Says why nothing should be claimed now; empty: go on.

    Args:
        waiting: how many events wait for a sink.
        closing: whether the process is about to end.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        waiting: Callable[[], int],
        closing: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._waiting = waiting
        self._closing = closing
        self._clock = clock
        self._until = 0.0
        self._reason = ""
        self._look_at = 0.0

    def note(self, error: Exception) -> None:
        """A session failed by this: claim nothing for a while if it is not the mailbox's fault."""
        match error:
            case BuffersTaken():
                pass  # other sessions need none
            case StoreError():
                self._hold(_STORE_SECONDS, f"the object store failed: {error}")
            case StateError():
                self._hold(_REDIS_SECONDS, f"Redis failed: {error}")

    @property
    def trouble(self) -> str:
        """What store, Redis or sinks suffer from, as far as this process has seen; or empty."""
        return self._reason if self._clock() < self._until else ""

    def __call__(self) -> str:
        """The reason.

        Raises:
            StateError: Redis failed.
        """
        if self._closing():
            return "the process is about to end"
        if trouble := self.trouble:
            return trouble
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY_SECONDS
            waiting = self._waiting()
            if waiting > _MOST_WAITING:
                self._hold(_LOOK_EVERY_SECONDS, f"{waiting} events wait for a sink")
                return self._reason
        return ""

    def _hold(self, seconds: float, reason: str) -> None:
        self._until = self._clock() + seconds
        self._reason = reason


class LocalBrake:
    """The fleet's brake, and that of a process that sees its store, Redis or sinks in trouble."""

    def __init__(self, brake: Brake, pressure: BackPressure) -> None:
        self._brake = brake
        self._pressure = pressure

    def reason(self) -> str:
        """Why nothing may be deleted now; empty: it may."""
        return self._pressure.trouble or self._brake.reason()

    def allow(self, deletes: int) -> str:
        """The same, asked right before so many deletes are confirmed, which counts them."""
        return self._pressure.trouble or self._brake.allow(deletes)
