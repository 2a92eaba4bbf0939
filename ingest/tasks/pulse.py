"""A worker's hints to itself: does its consumer still consume?

A worker can lose its consumer and go on answering pings. So it has a queue of its own, puts a hint
there every few seconds, and its heart beats when that comes back: whatever its lanes, however many
workers there are, and whether or not anybody ticks.
"""

from __future__ import annotations

import threading
from uuid import uuid4

import structlog
from celery import Celery
from kombu import Exchange, Queue
from redis import Redis

from ingest.errors import IngestError
from ingest.observability import metrics, systemd
from ingest.observability.health import Heartbeat
from ingest.state.commands import PREFIX
from ingest.state.presence import Presence
from ingest.tasks.app import HINT_SECONDS

TASK = "pulse"

_SECONDS = 15.0
_END_SECONDS = 2.0  # a Redis that hangs must not use up the grace period
_FORGOTTEN_SECONDS = 300  # what a killed worker never took

log = structlog.get_logger()


class Pulse:
    """Sends the hints on a thread of its own until closed."""

    def __init__(self, app: Celery, redis: Redis, heartbeat: Heartbeat) -> None:
        self._app = app
        self._redis = redis
        self._presence = Presence(redis)
        self._heartbeat = heartbeat
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        # Without an exchange there is no binding, which would outlive the worker. What was taken
        # and never acknowledged would be put back when the worker is gone, and lie there for ever.
        self.queue = Queue(
            f"{PREFIX}{TASK}:{uuid4().hex}", Exchange(""), no_declare=True, no_ack=True
        )

    def start(self) -> None:
        """Let the worker consume from its own queue too, and begin."""
        self._app.amqp.queues.select_add(self.queue)
        self._thread.start()

    def close(self) -> None:
        """Send no more."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(_END_SECONDS)

    def send(self) -> None:
        """Put one hint into the queue."""
        try:
            # A Redis that is full answers, but takes nothing, neither this nor hints nor mail.
            self._presence.show()
            self._app.send_task(TASK, queue=self.queue.name, expires=HINT_SECONDS)
            self._redis.expire(self.queue.name, _FORGOTTEN_SECONDS)
        # Whatever Redis has is not the consumer's fault, and a restart does not mend it.
        except IngestError as error:
            # Where no task runs, nobody else says it.
            metrics.count_error(error)
            log.warning("redis_not_usable", reason=str(error), remedy=error.remedy)
            self._heartbeat.beat()
        except Exception as error:  # noqa: BLE001 - Celery's own
            log.debug("pulse_not_sent", error=type(error).__name__)
            self._heartbeat.beat()

    def _run(self) -> None:
        self.send()
        while not self._closing.wait(_SECONDS):
            self.send()
            if not self._heartbeat.complaint():
                systemd.tell(systemd.ALIVE)
