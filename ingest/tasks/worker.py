"""What one worker process holds for its tasks, from its start to its end."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from types import FrameType
from typing import Any

import structlog
from celery import Task, signals

from ingest import memory
from ingest.bootstrap import Application, open_application
from ingest.errors import IngestError
from ingest.intake.poll import Poller
from ingest.intake.relay import Relay
from ingest.observability import metrics, systemd
from ingest.observability.health import HealthServer, Heartbeat
from ingest.observability.logging import configure
from ingest.settings import Settings
from ingest.state.connect import persistence
from ingest.tasks.app import app
from ingest.tasks.pulse import Pulse

log = structlog.get_logger()

# Four hints of the worker to itself; one whose threads are all in sessions beats the heart there.
_HEARTBEAT_SECONDS = 60.0


class Worker:
    """The application, and what tasks need of it. Leaving the block ends it."""

    def __init__(self, settings: Settings) -> None:
        self._stack = ExitStack()
        self.heartbeat = Heartbeat(_HEARTBEAT_SECONDS)
        metrics.heartbeat_age.set_function(self.heartbeat.age_seconds)
        metrics.poll_interval.set(settings.poll_seconds)
        self.application: Application = self._stack.enter_context(
            open_application(settings, beat=self.heartbeat.beat)
        )
        self.pulse = Pulse(app, self.application.redis, self.heartbeat)
        self._stack.callback(self.pulse.close)
        self.poller: Poller = self.application.poller()
        self.relay: Relay = self.application.relay()
        if settings.metrics_port:
            self._stack.enter_context(
                HealthServer(
                    settings.metrics_host,
                    settings.metrics_port,
                    heartbeat=self.heartbeat,
                    checks={"redis": self.application.redis.ping, "store": self._check_store},
                )
            )

    def close(self) -> None:
        """Give everything back."""
        self._stack.close()

    def observe(self) -> None:
        """Set the gauges that are the same for the whole fleet."""
        depth = self.application.schedule.depth()
        metrics.due_lag.set(depth.lag_seconds)
        metrics.mailboxes_scheduled.set(depth.scheduled)
        metrics.mailboxes_due.set(depth.due)
        metrics.mailboxes_leased.set(depth.leased)
        outbox = self.application.outbox
        metrics.outbox_depth.labels(outbox.sink).set(outbox.depth())
        metrics.outbox_age.labels(outbox.sink).set(outbox.age_seconds())
        metrics.deletes_braked.set(bool(self.application.brake.reason()))
        metrics.fleet.observed()

    def _check_store(self) -> None:
        next(self.application.store.list("mailboxes/"), None)


_worker: Worker | None = None


def current() -> Worker:
    """The worker that this process is.

    Raises:
        RuntimeError: it is none.
    """
    if _worker is None:
        raise RuntimeError("tasks run in a worker: start one with `ingest worker`")
    return _worker


@signals.setup_logging.connect
def _configure_logging(**_: Any) -> None:  # noqa: ANN401 - Celery's signals carry anything
    from ingest.settings import from_environment  # noqa: PLC0415 - the moment Celery starts

    settings = from_environment()
    configure(settings.log_format, settings.log_level, settings.log_sample)


@signals.worker_init.connect
def _begin(**_: Any) -> None:  # noqa: ANN401 - Celery's signals carry anything
    global _worker  # noqa: PLW0603 - a worker process is one
    from ingest.settings import from_environment  # noqa: PLC0415 - the moment Celery starts

    memory.tune()
    settings = from_environment()
    # Celery sets logging up after this signal.
    configure(settings.log_format, settings.log_level, settings.log_sample)
    try:
        _worker = Worker(settings)
        _worker.pulse.start()
        found = persistence(_worker.application.redis)
        _worker.application.prepare()
    except Exception as error:
        # Celery logs what a signal's receiver raises and goes on, but not this.
        if isinstance(error, IngestError):
            log.critical("worker_not_started", reason=str(error), remedy=error.remedy)
            raise SystemExit(error.exit_code) from None
        log.critical("worker_broke", exc_info=error)
        raise SystemExit(IngestError.exit_code) from None
    for warning in found.warnings:
        log.warning("redis_may_forget", reason=warning)
    log.info("worker_started")


@signals.worker_ready.connect
def _consume(**_: Any) -> None:  # noqa: ANN401 - Celery's signals carry anything
    systemd.tell(systemd.READY)


@signals.worker_ready.connect
def _hear(**_: Any) -> None:  # noqa: ANN401 - Celery's signals carry anything
    """End by any signal as by SIGTERM.

    Celery's cold shutdown can't end threads: it waits for sessions that nobody told to end, or
    closes what they still need.
    """
    signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))
    signal.signal(signal.SIGQUIT, _drop)


def _drop(_number: int, _frame: FrameType | None) -> None:
    """End now: sessions are dropped, and their leases given back."""
    current().application.shutdown.begin(0)
    os.kill(os.getpid(), signal.SIGTERM)


@signals.task_failure.connect
def _count_failure(sender: Task[..., Any], exception: Exception, **_: Any) -> None:  # noqa: ANN401 - Celery's signals carry anything
    metrics.task_failures.labels(sender.name).inc()
    metrics.count_error(exception)


@signals.worker_shutting_down.connect
def _close_slowly(**_: Any) -> None:  # noqa: ANN401 - Celery's signals carry anything
    application = current().application
    systemd.tell(systemd.STOPPING)
    application.shutdown.begin(application.settings.grace_seconds)
    log.info("worker_stopping", grace_seconds=application.settings.grace_seconds)


@signals.worker_shutdown.connect
def _end(**_: Any) -> None:  # noqa: ANN401 - Celery's signals carry anything
    current().close()
    log.info("worker_stopped")
