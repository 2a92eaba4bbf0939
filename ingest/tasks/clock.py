"""Beat's scheduler: in memory, and silent towards lanes where nobody works."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

import structlog
from celery import signals
from celery.beat import ScheduleEntry, Scheduler, Service

from ingest.bootstrap import redis_url
from ingest.errors import SettingsError
from ingest.observability import systemd
from ingest.observability.health import HealthServer, Heartbeat
from ingest.settings import Settings, from_environment
from ingest.state.commands import PREFIX
from ingest.state.connect import ANSWER_SECONDS, connect, translated
from ingest.tasks.app import TURN_SECONDS, TURNS

MOST_HINTS = 1000
"""A hint that nobody has time for expires only when it is taken: more of them help nobody."""

HEARTBEAT_SECONDS = 60.0  # it never sleeps for more than one
_TOLD_SECONDS = 15.0  # between two words to systemd

log = structlog.get_logger()


class Clock(Scheduler):
    """Nothing of beat's own is worth keeping: whose turn it is stands in Redis, as what is due."""

    def __init__(self, *args: Any, **more: Any) -> None:  # noqa: ANN401 - Celery's
        super().__init__(*args, **more)
        self.heartbeat = Heartbeat(HEARTBEAT_SECONDS, silence="beat's loop has not turned")
        self._told = float("-inf")

    def tick(self, *args: Any, **more: Any) -> float:  # noqa: ANN401 - Celery's
        """Send what is due; the seconds until more is."""
        began = time.monotonic()
        seconds: float = super().tick(*args, **more)
        # A Redis that can't be reached says so soon, and to start again does not mend that. One
        # that does not answer may be behind a connection that broke unnoticed.
        if time.monotonic() - began < ANSWER_SECONDS:
            self._turned()
        return seconds

    def _turned(self) -> None:
        self.heartbeat.beat()
        if time.monotonic() - self._told >= _TOLD_SECONDS:
            systemd.tell(systemd.ALIVE)
            self._told = time.monotonic()

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:  # noqa: ANN401 - Celery's
        """Send the entry's hint, if it is time and its lane is not full of hints nobody takes."""
        self.heartbeat.doing = f"it waits for Redis to take the hint {entry.name!r}"
        try:
            wanted = self._is_wanted(str(entry.task))
        except Exception as error:  # noqa: BLE001 - what keeps us from asking keeps us from sending
            cause = type(error.__cause__ or error).__name__
            log.warning("hint_not_sent", hint=entry.name, error=cause)
            return
        if wanted:
            super().apply_entry(entry, producer)

    def close(self) -> None:
        """End."""
        systemd.tell(systemd.STOPPING)
        super().close()

    @cached_property
    def connection(self) -> Any:  # noqa: ANN401 - Celery's
        """Whose next attempt to connect is the next turn's."""
        return self.app.connection_for_write(transport_options={"max_retries": 0})

    def _ensure_connected(self) -> Any:  # noqa: ANN401 - Celery's
        # Celery's own waits here until Redis is there: no turn would end, as if the loop hung.
        return self.connection

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


def serve(settings: Settings, heartbeat: Heartbeat) -> HealthServer:
    """Answer what probes ask of beat, until closed.

    Raises:
        SettingsError: its port can't be listened on.
    """
    redis = connect(redis_url(settings))

    def ping() -> None:
        with translated():
            redis.ping()

    return HealthServer(
        settings.metrics_host,
        settings.beat_port,
        heartbeat=heartbeat,
        checks={"redis": ping},
        setting="INGEST_BEAT_PORT",
    )


@signals.beat_init.connect
def _begin(sender: Service, **_: Any) -> None:  # noqa: ANN401 - Celery's signals carry anything
    settings = from_environment()
    if settings.beat_port:
        try:
            clock: Any = sender.scheduler
            serve(settings, clock.heartbeat)
        except SettingsError as error:
            log.critical("beat_not_started", reason=str(error), remedy=error.remedy)
            raise SystemExit(error.exit_code) from None
    systemd.tell(systemd.READY)
