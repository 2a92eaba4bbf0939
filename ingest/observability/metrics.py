"""Every metric of the system, in one registry of our own.

Names follow Prometheus' conventions. No label ever names a mailbox, a host or a message: a fleet
has a million of them. Each outcome is there from the start with zero, so that `increase()` sees
the first one.

    from ingest.observability import metrics
    metrics.messages.labels("stored").inc()
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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

from ingest import __version__
from ingest.errors import IngestError

_PREFIX = "mail_ingest_"

registry = CollectorRegistry()
ProcessCollector(registry=registry)
PlatformCollector(registry=registry)
GCCollector(registry=registry)


def _counter(name: str, meaning: str, label: str = "", values: Sequence[str] = ()) -> Counter:
    labels = (label,) if label else ()
    counter = Counter(_PREFIX + name, meaning, labels, registry=registry)
    for value in values:
        counter.labels(value)
    return counter


def _gauge(name: str, meaning: str) -> Gauge:
    return Gauge(_PREFIX + name, meaning, registry=registry)


def _histogram(name: str, meaning: str, buckets: Sequence[float]) -> Histogram:
    return Histogram(_PREFIX + name, meaning, registry=registry, buckets=buckets)


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
published = _counter("events_published_total", "Events that a sink has confirmed.")
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
errors = _counter("errors_total", "Errors by class.", "code", (*_codes(), "unexpected"))

outbox_depth = _gauge("outbox_depth", "Events that wait for a sink.")
outbox_age = _gauge("outbox_age_seconds", "Age of the oldest event that waits for a sink.")
deletes_braked = _gauge("deletes_braked", "1 while the brake stops all deletes.")
due_lag = _gauge("due_lag_seconds", "How long the mailbox that is due longest has been due.")
mailboxes_due = _gauge("mailboxes_due", "Mailboxes that are due and not leased.")

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

_build = Gauge(_PREFIX + "build_info", "Always 1.", ("version",), registry=registry)
_build.labels(__version__).set(1)


def count_error(error: BaseException) -> None:
    """Count an error by its class; one that is not ours counts as unexpected."""
    errors.labels(error.code if isinstance(error, IngestError) else "unexpected").inc()


def exposition() -> bytes:
    """The text that Prometheus scrapes."""
    return generate_latest(registry)
