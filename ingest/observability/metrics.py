"""Every metric of the system, in registries of our own.

Names follow Prometheus' conventions. No label ever names a mailbox or a message: a fleet has a
million of them; of hosts, a process names the first fifty it meets. Each outcome is there from the
start with zero, so that `increase()` sees the first one.

    from ingest.observability import metrics
    metrics.messages.labels("stored").inc()
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import Metric

from ingest import __version__
from ingest.errors import IngestError

_PREFIX = "mail_ingest_"
_FRESH_SECONDS = 60.0
_PROVIDERS = 50


class FleetRegistry(CollectorRegistry):
    """Gauges that are the same for the whole fleet, so that any worker can set them.

    Exposed only for a minute after the last `observed`: a worker that gets no ticks says nothing,
    rather than what was.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._observed_at = float("-inf")

    def observed(self) -> None:
        """All of them have just been set."""
        self._observed_at = self._clock()

    def collect(self) -> Iterator[Metric]:
        """The gauges, while they are fresh."""
        if self._clock() - self._observed_at <= _FRESH_SECONDS:
            yield from super().collect()


registry = CollectorRegistry()
fleet = FleetRegistry()
canaries = FleetRegistry()
ProcessCollector(registry=registry)
PlatformCollector(registry=registry)
GCCollector(registry=registry)


def _counter(name: str, meaning: str, label: str = "", values: Sequence[str] = ()) -> Counter:
    labels = (label,) if label else ()
    counter = Counter(_PREFIX + name, meaning, labels, registry=registry)
    for value in values:
        counter.labels(value)
    return counter


def _gauge(name: str, meaning: str, *labels: str, within: CollectorRegistry = registry) -> Gauge:
    return Gauge(_PREFIX + name, meaning, labels, registry=within)


def _histogram(name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Histogram:
    return Histogram(_PREFIX + name, meaning, labels, registry=registry, buckets=buckets)


def _codes(root: type[IngestError] = IngestError) -> Iterator[str]:
    yield root.code
    for error in root.__subclasses__():
        yield from _codes(error)


# completed: QUIT was answered +OK. stopped: by ourselves (shutdown, lost lease). failed: the rest.
sessions = _counter(
    "sessions_total",
    "POP3 sessions that ended.",
    "outcome",
    ("completed", "stopped", "failed"),
)
# Only what is the server's doing, or that of the way to it. refused: it refused to sign us in.
# busy: it asked us to come back later.
provider_sessions = Counter(
    _PREFIX + "provider_sessions_total",
    "POP3 sessions that ended by the server's doing, by its host; past fifty hosts, other.",
    ("provider", "outcome"),
    registry=registry,
)
# failed: the SMTP server did not take it. home: a sink has its event. missing: it was not home in
# time. late: it came home after it had been missing. stray: it was not awaited; it came twice, or
# Redis lost its data.
_PROBE_OUTCOMES = ("sent", "failed", "home", "missing", "late", "stray")
canary_probes = Counter(
    _PREFIX + "canary_probes_total",
    "Probes by what became of them, by the host of the canary's maildrop; past fifty, other.",
    ("provider", "outcome"),
    registry=registry,
)
mailboxes_paused = _counter(
    "mailboxes_paused_total", "Mailboxes paused since their server kept refusing to sign us in."
)
# stored: committed by this session. quarantined: stored unparsed, for the parser or a worker broke
# on it. truncated: stored with fewer octets than announced, and not deleted. known: stored before,
# and seen again. refused: the server would not give it. skipped: it broke sessions or workers too
# often, and stays on its server.
messages = _counter(
    "messages_total",
    "Messages that a session dealt with.",
    "outcome",
    ("stored", "quarantined", "truncated", "known", "refused", "skipped"),
)
octets = _counter("octets_total", "Octets of messages retrieved, unstuffed.")
parts = _counter("parts_total", "Parts extracted into objects of their own.")
commits = _counter("commits_total", "Batches made durable in the object store.")
events = _counter("events_total", "Events put into the outbox.")
published = _counter("events_published_total", "Events that a sink has confirmed.", "sink")
# confirmed: DELE and QUIT were answered +OK. refused: DELE was answered -ERR. unconfirmed: no
# answer came to QUIT; the next session finds out.
deletes = _counter(
    "deletes_total",
    "Messages asked to be deleted from their server.",
    "outcome",
    ("confirmed", "refused", "unconfirmed"),
)
deletes_without_evidence = _counter(
    "deletes_without_evidence_total",
    "Deletes that were about to be sent without evidence, and were not. Must stay zero.",
)
# damaged: the store holds other octets than were stored. missing: an object is gone. unreadable:
# the store would not give it, so that nothing is known.
audited = _counter(
    "audited_total",
    "Messages that the scheduled audit tried to prove. All but proven must stay zero.",
    "outcome",
    ("proven", "damaged", "missing", "unreadable"),
)
errors = _counter("errors_total", "Errors by class.", "code", (*_codes(), "unexpected"))
task_failures = _counter(
    "task_failures_total",
    "Tasks that ended with an error; sessions that failed are not among them.",
    "task",
    ("tick", "poll", "relay", "read_back", "sweep", "audit", "canaries", "canary"),
)
readiness_failures = _counter(
    "readiness_failures_total",
    "Times that /readyz found Redis or the store not answering.",
    "check",
)

outbox_depth = _gauge("outbox_depth", "Events that wait for a sink.", "sink", within=fleet)
outbox_age = _gauge(
    "outbox_age_seconds", "Age of the oldest event that waits for a sink.", "sink", within=fleet
)
deletes_braked = _gauge("deletes_braked", "1 while the brake stops all deletes.", within=fleet)
due_lag = _gauge(
    "due_lag_seconds", "How long the mailbox that is due longest has been due.", within=fleet
)
mailboxes_scheduled = _gauge(
    "mailboxes_scheduled", "Mailboxes that are due, now or later.", within=fleet
)
mailboxes_due = _gauge("mailboxes_due", "Mailboxes that are due and not leased.", within=fleet)
mailboxes_leased = _gauge("mailboxes_leased", "Mailboxes that are in a session.", within=fleet)

# Of several canaries of one provider, the one that lags behind counts.
canary_sent = _gauge(
    "canary_sent_timestamp_seconds", "When a probe was last sent.", "provider", within=canaries
)
canary_home = _gauge(
    "canary_home_timestamp_seconds",
    "When a sink last confirmed the event of a probe.",
    "provider",
    within=canaries,
)

waiting_octets = _gauge(
    "waiting_octets", "Octets, as listed, that the sessions at work here have yet to retrieve."
)
heartbeat_age = _gauge(
    "heartbeat_age_seconds", "Time since a task began, or last showed that it is at work."
)
poll_interval = _gauge(
    "poll_interval_seconds", "The shortest interval between two sessions of a mailbox, as set."
)

mail_age = _histogram(
    "mail_age_at_commit_seconds",
    "From a message's Date field to its commit.",
    (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400, 604800),
)
session_seconds = _histogram(
    "session_seconds",
    "Length of a POP3 session, from connecting to QUIT.",
    (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900),
)

# A message that the session's limits left for the next session counts from that one's LIST.
commit_delay = _histogram(
    "commit_delay_seconds",
    "From the LIST of a session to the commit of each of its messages.",
    (0.5, 1, 2.5, 5, 10, 20, 30, 50, 60, 120, 300, 900),
)
publish_delay = _histogram(
    "publish_delay_seconds",
    "From an event's commit to its confirmation by a sink.",
    (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600),
    "sink",
)
canary_seconds = _histogram(
    "canary_seconds",
    "From the sending of a canary's probe to the confirmation of its event by a sink.",
    (1, 2.5, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 14400),
    "provider",
)
batch_write_seconds = _histogram(
    "batch_write_seconds",
    "Time that the store takes for the rest of a batch: its last parts and its commit object.",
    (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
redis_call_seconds = _histogram(
    "redis_call_seconds",
    "Time that Redis takes to answer a command or a script.",
    (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5),
)

_build = Gauge(_PREFIX + "build_info", "Always 1.", ("version",), registry=registry)
_build.labels(__version__).set(1)


def count_error(error: BaseException) -> None:
    """Count an error by its class; one that is not ours counts as unexpected."""
    errors.labels(error.code if isinstance(error, IngestError) else "unexpected").inc()


_providers: set[str] = set()
_naming = threading.Lock()


def provider(host: str) -> str:
    """The label of a host.

    The hosts with the most sessions are among the first fifty, but for unlikely chance.
    """
    with _naming:
        if host not in _providers and len(_providers) < _PROVIDERS:
            _providers.add(host)
            for each in ("completed", "refused", "busy", "failed"):
                provider_sessions.labels(host, each)
        return host if host in _providers else "other"


def count_provider(host: str, outcome: str) -> None:
    """Count a session that ended by its server's doing."""
    provider_sessions.labels(provider(host), outcome).inc()


def count_probe(host: str, outcome: str) -> None:
    """Count a probe of a canary on that host."""
    canary_probes.labels(provider(host), outcome).inc()


_canary_providers: set[str] = set()
_showing = threading.Lock()


def show_canaries(
    providers: set[str], sent: Mapping[str, float], home: Mapping[str, float]
) -> None:
    """Set the gauges of all canaries there are, by `provider`; those of others are gone."""
    with _showing:
        for gone in _canary_providers - providers:
            for gauge in (canary_sent, canary_home):
                gauge.remove(gone)
        _canary_providers.clear()
        _canary_providers.update(providers)
        for each in providers:
            canary_seconds.labels(each)
            for outcome in _PROBE_OUTCOMES:
                canary_probes.labels(each, outcome)
        for gauge, times in ((canary_sent, sent), (canary_home, home)):
            for each, when in times.items():
                gauge.labels(each).set(when)
    canaries.observed()


def exposition() -> bytes:
    """The text that Prometheus scrapes."""
    return b"".join(map(generate_latest, (registry, fleet, canaries)))
