"""The brake: one key that stops all deletes of the fleet, until a person releases it."""

from __future__ import annotations

from typing import Final

from redis import Redis

from ingest.state.commands import PREFIX, Commands, text

USUAL_ALWAYS: Final = 10_000  # deletes an hour; a small fleet has no usual range
USUAL_TIMES: Final = 10  # the busiest hour of the last week
HOURS_KEPT: Final = 7 * 24
HOURS_KNOWN: Final = 24  # before that, nothing is unusual: mailboxes are being moved in
RELEASED_SECONDS: Final = 3600


class Brake:
    """See `ingest.intake.ports.Brake`. Every method raises StateError where Redis fails."""

    def __init__(self, client: Redis, prefix: str = PREFIX) -> None:
        self._redis = Commands(client, prefix)
        self._keys = [self._redis.key(name) for name in ("brake", "deletes", "brake-released")]

    def reason(self) -> str:
        """Why nothing may be deleted; empty: it may."""
        return text(self._redis.run("GET", self._keys[0]) or b"")

    def allow(self, deletes: int) -> str:
        """Count deletes that are about to be confirmed; why they may not be, or empty.

        Pulls the brake where their number leaves the usual range.
        """
        limits = (USUAL_ALWAYS, USUAL_TIMES, HOURS_KEPT, HOURS_KNOWN)
        return text(self._redis.call("brake", self._keys, [deletes, *limits]))

    def pull(self, reason: str) -> None:
        """Stop all deletes. A reason that is there already stays."""
        self._redis.run("SET", self._keys[0], reason, "NX")

    def release(self) -> str:
        """Let deletes go on, in any number for an hour; what the reason was."""
        reason = self.reason()
        self._redis.run("SET", self._keys[2], "1", "EX", RELEASED_SECONDS)
        self._redis.run("DEL", self._keys[0])
        return reason
