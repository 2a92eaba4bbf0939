"""Beat's scheduler: in memory, and silent towards lanes where nobody works."""

from __future__ import annotations

from typing import Any

from celery.beat import ScheduleEntry, Scheduler

MOST_HINTS = 1000
"""A hint that nobody has time for expires only when it is taken: more of them help nobody."""


class Clock(Scheduler):
    """Nothing of beat's is worth keeping: what is due stands in the schedule and the store."""

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:  # noqa: ANN401 - Celery's
        """Send the entry's hint, unless its lane is full of hints that nobody takes."""
        if self._waiting(str(entry.task)) < MOST_HINTS:
            super().apply_entry(entry, producer)

    def _waiting(self, task: str) -> int:
        lane = self.app.amqp.router.route({}, task)["queue"].name
        try:
            channel: Any = self.connection.default_channel
            return int(channel.client.llen(lane))
        except Exception:  # noqa: BLE001 - what keeps us from asking keeps Celery from sending
            return 0  # which it logs, and goes on
