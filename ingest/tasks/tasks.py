"""The tasks: a few lines each. What they do stands in the packages below."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from random import SystemRandom

import structlog

from ingest.errors import StoreChanged
from ingest.objects.audit import positions
from ingest.objects.keys import begun
from ingest.objects.sample import pick
from ingest.objects.spot_check import spot_check
from ingest.objects.sweep import sweep as sweep_store
from ingest.state.orphans import Orphans
from ingest.tasks.app import HINT_SECONDS, POLL, app
from ingest.tasks.clock import MOST_HINTS
from ingest.tasks.pulse import TASK as PULSE
from ingest.tasks.worker import current

log = structlog.get_logger()

# Batches of so many hours are compared with those that Redis knows; the youngest are left out,
# since they may be on their way into the ledger.
_COMPARED = timedelta(hours=7)
_YOUNG = timedelta(minutes=10)
_EVER = datetime(1970, 1, 1, tzinfo=UTC)

_AUDITED = 100  # messages an hour

# So many probes a process sends at a time: a slow SMTP server must not hold up sessions.
_sending = threading.BoundedSemaphore(4)


@app.task(name=PULSE)
def pulse() -> None:
    """Show that this worker consumes."""
    current().heartbeat.beat()


@app.task(name="tick")
def tick() -> None:
    """Hint at each group that has mailboxes due, as often as it has slots."""
    worker = current()
    settings = worker.application.settings
    if not worker.application.checkpoints.whole():
        read_back.apply_async(expires=HINT_SECONDS)
    if worker.application.redis.llen(POLL) < MOST_HINTS:
        for group, due in worker.application.schedule.groups_due().items():
            for _ in range(min(due, settings.group_slots)):
                poll.apply_async((group,), expires=HINT_SECONDS)
    worker.observe()


@app.task(name="poll")
def poll(group: str) -> None:
    """Hold sessions with the due mailboxes of a group. Ticks go on hinting at those still due."""
    worker = current()
    if worker.poller.poll_group(group):
        relay.apply_async(expires=HINT_SECONDS)


@app.task(name="relay")
def relay() -> None:
    """Move events from the outbox to the sink."""
    current().relay.drain()


@app.task(name="read_back")
def read_back() -> None:
    """Notice a Redis that lost data, find batches it never heard of, write the checkpoint."""
    application = current().application
    try:
        application.read_back.run_if_lost()
    except StoreChanged:
        application.checkpoints.withdraw()  # nobody may delete by what Redis says of another store
        raise
    if not application.checkpoints.whole():
        return  # another worker is reading it back, and a tick a second asks everybody to
    look = application.checkpoints.look()
    mailboxes = application.registry.list()
    active = [mailbox for mailbox in mailboxes if not mailbox.paused]
    application.schedule.schedule_new(active, application.settings.poll_seconds)
    application.canaries.add(mailboxes)
    now = application.store.now()
    since, until = _EVER, now - _YOUNG  # where nothing was ever compared
    checkpoint = application.checkpoints.read()
    if checkpoint and (compared := checkpoint.compared or checkpoint.before):
        since = min(now - _COMPARED, compared)  # a fleet that stood still has more to compare
    batches = application.log.committed(None if since is _EVER else since)
    listed = (batch for batch in batches if since <= begun(batch) <= until)

    def at_work() -> None:
        application.beat()
        look.step()

    application.read_back.compare(listed, at_work)
    application.checkpoints.write(until, look)


@app.task(name="sweep")
def sweep() -> None:
    """Remove what batches left behind that were never committed, from the last sweep's end on.

    And from Redis, what mailboxes left that are no more.
    """
    worker = current()
    application, cursor = worker.application, worker.application.sweep_cursor
    orphans = Orphans(application.redis, application.registry)
    if dropped := orphans.drop(worker.heartbeat.beat):
        log.info("orphans_dropped", keys=dropped)
    after = settled = cursor.read()
    while True:
        worker.heartbeat.beat()
        swept = sweep_store(application.store, after)
        log.info("store_swept", **swept._asdict())
        if settled == after:
            settled = swept.settled
            cursor.write(settled)
        after = swept.after
        if not after or application.shutdown.closing:
            return


@app.task(name="audit")
def audit() -> None:
    """Prove a sample of what was committed since the last audit."""
    worker = current()
    application, audits, chance = worker.application, worker.application.audits, SystemRandom()
    store = application.store

    def go_on() -> bool:
        worker.heartbeat.beat()
        return not application.shutdown.closing

    batches, until = audits.unaudited(_AUDITED, chance)
    places = pick(batches, lambda batch: positions(store, batch), _AUDITED, chance)
    if spot_check(store, places, application.brake.pull, go_on):
        audits.done(until)


@app.task(name="canaries")
def canaries() -> None:
    """Look which probes are missing, and hint at each canary whose turn it is to get one."""
    application = current().application
    application.canaries.look()
    if application.redis.llen(POLL) < MOST_HINTS:
        for mailbox in application.canaries.due():
            canary.apply_async((mailbox,), expires=HINT_SECONDS)


@app.task(name="canary")
def canary(mailbox: str) -> None:
    """Send a canary its probe, unless somebody else does. Who comes too many gets another hint."""
    worker = current()
    if _sending.acquire(blocking=False):
        try:
            worker.heartbeat.beat()  # what follows may take a minute, in every thread
            worker.application.canaries.take_turn(mailbox)
        finally:
            _sending.release()
