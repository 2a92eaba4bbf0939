"""The audit that nobody has to think of: a bounded sample, a metric, an alarm, and the brake."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from ingest.errors import ObjectMissing, ProofFailed
from ingest.intake.ports import ObjectStore
from ingest.objects.audit import Examined, Patience, examine
from ingest.observability import metrics

log = structlog.get_logger()

_MOST_OCTETS = 1024**3  # of messages; one that is larger is the last


def spot_check(
    store: ObjectStore,
    places: Iterable[tuple[str, int | None]],
    pull: Callable[[str], None],
    go_on: Callable[[], bool],
) -> bool:
    """Prove messages; count each, and say aloud which can't be proven.

    Args:
        store: where they are.
        places: batches, and the position of a message in each (None: all of it).
        pull: stops all deletes, for that reason. Called where octets are damaged or gone.
        go_on: asked before each message whether there is time for it.

    Returns:
        Whether it came to its end: False where there was no time.

    Raises:
        StoreUnavailable: the store gives nothing any more.
        StateError: the brake could not be pulled.
    """
    patience, messages, octets = Patience(), 0, 0
    for batch, position in places:
        if not go_on():
            return False
        for one in examine(store, batch, position):
            messages += 1
            octets += one.record.octets if one.record else 0
            metrics.audited.labels(one.verdict.outcome).inc()
            if one.verdict.outcome != "proven":
                _tell(one, pull)
            patience.note(one.verdict)
        if octets >= _MOST_OCTETS:
            break
    log.info("audit_done", messages=messages, octets=octets)
    return True


def _tell(one: Examined, pull: Callable[[str], None]) -> None:
    verdict = one.verdict
    log.error(
        "message_not_proven",
        mailbox=one.record.mailbox if one.record else "",
        record=one.record.id if one.record else "",
        batch=one.batch,
        index=one.position,
        object=verdict.key,
        outcome=verdict.outcome,
        reason=verdict.reason,
        remedy=verdict.remedy,
    )
    if verdict.lost:
        error = ObjectMissing if verdict.outcome == "missing" else ProofFailed
        metrics.count_error(error(verdict.reason))
        pull(f"audit: {verdict.key} {verdict.reason}")
        log.error("deletes_braked", remedy="mend it, and ingest audit; then ingest brake release")
