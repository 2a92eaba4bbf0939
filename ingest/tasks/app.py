"""The Celery application: hints on a broker, never the truth.

Every task may be lost, doubled or late without harm: what is due stands in the schedule, what is
to be published in the outbox. So there is no result backend, no retry, no late acknowledgement
and no beat entry per mailbox, and a hint expires when others have followed it.
"""

from __future__ import annotations

import inspect
import time
import warnings
from datetime import UTC, datetime
from typing import Any

from celery import Celery, Task
from celery.exceptions import SecurityWarning
from celery.schedules import schedule

from ingest.bootstrap import redis_url
from ingest.settings import Settings, from_environment
from ingest.state.connect import ANSWER_SECONDS, CONNECT_SECONDS, broker_url

# Celery warns of root because of pickle, which we never accept.
warnings.filterwarnings("ignore", category=SecurityWarning)

POLL, RELAY, MAINTENANCE = "poll", "relay", "maintenance"  # the queues, one per lane

# A hint ends by its sender's clock, and a worker's may be ahead: too short a life would end every
# hint before it is taken. Doctor warns of clocks that differ by much less.
HINT_SECONDS = 30.0

_TICK_SECONDS = 1.0
_CANARIES_SECONDS = 5.0

# What is to be done once in so many seconds, however many beats there are and whenever they were
# started: each asks every minute whether it is time.
TURNS = {"read_back": 300.0, "sweep": 3600.0, "audit": 3600.0}
TURN_SECONDS = 60.0

# For a connection whose other end has gone without a word, as when a network is cut. Redis ends
# each wait of a worker for hints after a second, so that no idle one meets the limit of an answer.
# Kombu drops a wait that is overdue by the interval, and looks once in that; what it asks for
# meanwhile has the limit alone. All of it together is less than a heart may rest.
_LINE = {
    "socket_connect_timeout": CONNECT_SECONDS,
    "socket_timeout": ANSWER_SECONDS,
    "socket_keepalive": True,
    "health_check_interval": 10,
}


def _entry(task: str, seconds: float) -> dict[str, Any]:
    expires = max(TURNS.get(task, seconds), HINT_SECONDS)
    turn = schedule(seconds, nowfun=_monotonic)
    return {"task": task, "schedule": turn, "options": {"expires": expires}}


def _monotonic() -> datetime:
    """Beat's clock: one that is set back by an hour would keep it silent for as long."""
    return datetime.fromtimestamp(time.monotonic(), UTC)


def configuration(settings: Settings) -> dict[str, Any]:
    """Celery's configuration for these settings."""
    return {
        "broker_url": broker_url(redis_url(settings)),
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": _LINE,
        "accept_content": ["json"],
        "task_serializer": "json",
        "task_ignore_result": True,
        "task_default_queue": MAINTENANCE,
        "task_routes": {
            "poll": {"queue": POLL},
            "canary": {"queue": POLL},  # where passwords and keys are
            "tick": {"queue": MAINTENANCE},
            "relay": {"queue": RELAY},
        },
        "worker_pool": "threads",
        "worker_concurrency": settings.concurrency,
        "worker_prefetch_multiplier": 1,
        "worker_enable_remote_control": False,  # our health is what tasks do, not who answers
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "beat_scheduler": "ingest.tasks.clock:Clock",
        "beat_schedule": {
            "tick": _entry("tick", _TICK_SECONDS),
            "relay": _entry("relay", _TICK_SECONDS),
            "canaries": _entry("canaries", _CANARIES_SECONDS),
            **{task: _entry(task, TURN_SECONDS) for task in TURNS},
        },
        "imports": ["ingest.tasks.tasks"],
    }


class Hinted(Task[..., Any]):
    """A task that does not mind what a newer version's hint says besides."""

    abstract = True

    def __call__(self, *arguments: Any, **more: Any) -> Any:  # noqa: ANN401 - Celery's
        """Do what the hint asks for, by what it says that is known here."""
        known = inspect.signature(self.run).parameters
        more = {name: value for name, value in more.items() if name in known}
        return self.run(*arguments[: len(known)], **more)


app: Celery[Task[..., Any]] = Celery("mail-ingest", task_cls=Hinted)
app.config_from_object(configuration(from_environment()))
