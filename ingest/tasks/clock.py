"""Beat's scheduler: in memory, and silent towards lanes where nobody works."""

from __future__ import annotations

from typing import Any

from celery.beat import ScheduleEntry, Scheduler

from ingest.state.commands import PREFIX
from ingest.tasks.app import TURN_SECONDS, TURNS

MOST_HINTS = 1000
"""A hint that nobody has time for expires only when it is taken: more of them help nobody."""


class Clock(Scheduler):
    """Nothing of beat's own is worth keeping: whose turn it is stands in Redis, as what is due."""

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:  # noqa: ANN401 - Celery's
        """Send the entry's hint, if it is time and its lane is not full of hints nobody takes."""
        try:
            wanted = self._is_wanted(str(entry.task))
        except Exception:  # noqa: BLE001 - what keeps us from asking keeps Celery from sending
            wanted = True  # which it logs, and goes on
        if wanted:
            super().apply_entry(entry, producer)

    def _is_wanted(self, task: str) -> bool:
        channel: Any = self.connection.default_channel
        lane = self.app.amqp.router.route({}, task)["queue"].name
        if channel.client.llen(lane) >= MOST_HINTS:
            return False
        if task not in TURNS:
            return True
        # Ends a little early, so that the asking that comes when it is time is not too early. If
        # we die before the hint is sent, it is lost, as hints may be: the next one takes in all
        # that is due since the last that was done.
        seconds = TURNS[task] - TURN_SECONDS / 2
        return bool(channel.client.set(f"{PREFIX}turn:{task}", 1, nx=True, ex=int(seconds)))
