"""The only place that picks concrete adapters and wires them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from structlog.contextvars import bound_contextvars

from ingest.errors import RegistryError
from ingest.intake.batch import BatchLimits
from ingest.intake.canary import Canaries
from ingest.intake.in_flight import InFlight
from ingest.intake.message import Thresholds
from ingest.intake.policy import Pace
from ingest.intake.poll import Pacing, Poller
from ingest.intake.ports import Stop
from ingest.intake.pressure import BackPressure, LocalBrake
from ingest.intake.queue import SessionLimits
from ingest.intake.relay import Relay, Sink
from ingest.intake.reparse import reparse
from ingest.intake.report import SessionReport, Watch
from ingest.intake.session import Session, SessionSettings
from ingest.intake.stop import SessionStop, Shutdown
from ingest.intake.traced import TracedLog, TracedSink
from ingest.isolation import Isolation
from ingest.model import Lease, Mailbox, Record, Submission
from ingest.objects.ahead import ahead
from ingest.objects.budget import Budget, limit_group
from ingest.objects.log import StoreLog
from ingest.objects.open import open_store
from ingest.objects.options import S3Options
from ingest.observability import tracing
from ingest.settings import Settings, sends_spans
from ingest.state.audits import Audits
from ingest.state.brake import Brake
from ingest.state.canaries import CanaryState
from ingest.state.checkpoint import Checkpoints
from ingest.state.connect import connect
from ingest.state.embedded import EmbeddedValkey
from ingest.state.key_file import keys_of
from ingest.state.ledger import RedisLedger
from ingest.state.outbox import Outbox
from ingest.state.quarantine import Quarantine
from ingest.state.readback import ReadBack
from ingest.state.registry import Registry
from ingest.state.renewal import LeaseKeeper
from ingest.state.schedule import Schedule
from ingest.state.secrets import Keyring
from ingest.state.sweep import SweepCursor
from ingest.transport.deadlines import Deadlines
from ingest.transport.maildrop import Pop3Maildrop
from ingest.transport.sign_in import open_maildrop

if TYPE_CHECKING:
    from redis import Redis

    from ingest.objects.probe import Store

# The name of the consumer group of the one sink there is.
SINK = "stream"

_COMMITTERS = 16
MOST_BATCHES = 2 * _COMMITTERS  # batches of all sessions together


def redis_url(settings: Settings) -> str:
    """Where Redis is: as set, or the embedded Valkey's socket."""
    return settings.redis_url or EmbeddedValkey(settings.valkey_directory).url


@dataclass(frozen=True)
class Application:
    """All parts of one process."""

    settings: Settings
    redis: Redis
    store: Store
    log: StoreLog
    keyring: Keyring
    registry: Registry
    schedule: Schedule
    ledger: RedisLedger
    keeper: LeaseKeeper
    outbox: Outbox
    brake: Brake
    quarantine: Quarantine
    pressure: BackPressure
    checkpoints: Checkpoints
    read_back: ReadBack
    shutdown: Shutdown
    committer: ThreadPoolExecutor
    in_flight: InFlight
    beat: Callable[[], None] = lambda: None  # called all the while by whatever works

    def __repr__(self) -> str:
        """No parts: some hold secrets."""
        return "Application(...)"

    @property
    def pacing(self) -> Pacing:
        """How often and how many at a time."""
        settings = self.settings
        pace = Pace(settings.poll_seconds, settings.poll_seconds_max)
        return Pacing(pace, settings.group_slots, settings.lease_seconds)

    @property
    def audits(self) -> Audits:
        """How far the scheduled audits are."""
        return Audits(self.redis)

    @property
    def canaries(self) -> Canaries:
        """The mailboxes that get probes."""
        return Canaries(self.registry, self.canary_state, self.keyring, self._submit)

    @property
    def canary_state(self) -> CanaryState:
        """What Redis knows of them."""
        return CanaryState(self.redis)

    def _submit(self, mailbox: Mailbox, submission: Submission, message: bytes) -> None:
        from ingest.transport.submission import submit  # noqa: PLC0415 - few have canaries

        password = ""
        if submission.username:
            try:
                password = self.keyring.reveal(submission.password, mailbox.id)
            except RegistryError as error:
                raise RegistryError(
                    f"for its canary: {error}",
                    remedy=f"enter it anew, or where it is: ingest canary set {mailbox.id}",
                ) from None
        peer = f"canary of mailbox {mailbox.id} at {submission.host}:{submission.port}"
        submit(submission, password, message, peer=peer, ending=lambda: self.shutdown.final)

    @property
    def sweep_cursor(self) -> SweepCursor:
        """Where the next sweep goes on."""
        return SweepCursor(self.redis)

    def prepare(self) -> None:
        """Before the first session: read back what Redis lost, and try out the store.

        Raises:
            StateError, StoreError: one of them can't be worked with.
        """
        self.read_back.run_if_lost()
        if self.settings.store_url.startswith("s3:"):  # a directory says it at the first write
            for failure in self.store.probe().steps.values():
                if failure:
                    raise failure

    def poller(self) -> Poller:
        """What claims mailboxes and holds their sessions."""
        return Poller(
            mailboxes=self.registry,
            schedule=self.schedule,
            hold=self._hold,
            run_session=self._run_session,
            run_isolated=Isolation().run,
            pacing=self.pacing,
            pressure=self.pressure,
        )

    def relay(self) -> Relay:
        """What moves events from the outbox to the stream that consumers read."""
        from ingest.events.sinks import RedisStreamSink  # noqa: PLC0415 - only workers need it

        settings = self.settings
        client = connect(settings.events_url) if settings.events_url else self.redis
        sink: Sink = RedisStreamSink(client, settings.events_stream, settings.events_maxlen)
        if spans := tracing.active():
            sink = TracedSink(sink, SINK, spans)
        return Relay(
            self.outbox, sink, lambda: self.shutdown.closing, self.beat, self.canaries.arrived
        )

    def open_maildrop(self, mailbox: Mailbox, stop: Stop) -> Pop3Maildrop:
        """Connect and sign in.

        Raises:
            SessionError: the server can't be reached, or does not let us in.
            RegistryError: the password can't be read.
        """
        return open_maildrop(
            mailbox,
            self.keyring.reveal(mailbox.password, mailbox.id),
            deadlines=Deadlines(
                idle_seconds=self.settings.idle_seconds,
                minimum_rate=self.settings.minimum_rate,
            ),
            stop=stop.check,
        )

    @contextmanager
    def _hold(self, lease: Lease) -> Iterator[Stop]:
        group = limit_group.set(lease.group)
        try:
            with self.keeper.hold(lease):
                yield SessionStop(lease, self.keeper.lost, self.shutdown, self.beat)
        finally:
            limit_group.reset(group)

    def reparse(self, record: Record, octets: Iterable[bytes], now: datetime) -> Record:
        """Commit a version of a stored message's record, made by today's parser; the version.

        Raises:
            IngestError: it can't be parsed, or not be committed.
        """
        settings = _session_settings(self.settings)
        version = reparse(
            record,
            octets,
            log=self.log,
            limits=settings.batch_limits,
            thresholds=settings.thresholds,
            deployment=settings.deployment,
            now=now,
        )
        self.ledger.restore(version.batch, [version])
        return version

    def run_suspects(self, lease: Lease, traceparent: str = "") -> SessionReport:
        """Hold a session with those messages only that may have killed a process: this is another.

        Args:
            lease: the right to it, which that process keeps.
            traceparent: the span of the session there; empty: there is none.

        Raises:
            IngestError: it failed.
        """
        mailbox = self.registry.get(lease.mailbox)
        with (
            bound_contextvars(mailbox=lease.mailbox, session=lease.id),
            tracing.span("isolated", parent=traceparent, mailbox=lease.mailbox),
            self._hold(lease) as stop,
        ):
            return self._run_session(mailbox, lease, stop, None, isolated=True)

    def _run_session(
        self,
        mailbox: Mailbox,
        lease: Lease,
        stop: Stop,
        watch: Watch | None,
        *,
        isolated: bool = False,
    ) -> SessionReport:
        spans = tracing.active()
        return Session(
            mailbox=mailbox,
            lease=lease,
            maildrop=self.open_maildrop(mailbox, stop),
            objects=TracedLog(self.log, spans) if spans else self.log,
            ledger=self.ledger,
            committer=self.committer,
            in_flight=self.in_flight,
            settings=_session_settings(self.settings),
            brake=LocalBrake(self.brake, self.pressure),
            stop=stop,
            watch=watch,
            isolated=isolated,
            recognise=self.canaries.recognition(mailbox),
        ).run()


@contextmanager
def open_application(
    settings: Settings, shutdown: Shutdown | None = None, beat: Callable[[], None] = lambda: None
) -> Iterator[Application]:
    """All parts, for the length of the block. Starts the embedded Valkey where none is set.

    Args:
        settings: of the process.
        shutdown: the end of the process.
        beat: called all the while by whatever works, or waits for store or server with a deadline.

    Raises:
        SettingsError: a setting is wrong.
        StateError, StoreError: Redis or the store refuses us.
    """
    shutdown = shutdown or Shutdown()

    def over() -> bool:
        beat()
        return shutdown.final

    with ExitStack() as stack:
        if sends_spans():
            stack.enter_context(tracing.exporting(settings.deployment))
        if settings.embedded:
            stack.enter_context(EmbeddedValkey(settings.valkey_directory))
        redis = connect(redis_url(settings))
        stack.callback(redis.close)
        budget = Budget(settings.buffer_octets)
        store = open_store(settings.store_url, budget, _s3_options(settings), over)
        stack.callback(store.close)
        schedule = Schedule(redis)
        keeper = LeaseKeeper(schedule, settings.lease_seconds)
        stack.callback(keeper.close)
        committer = stack.enter_context(_committer())
        yield _wired(
            settings,
            redis,
            store,
            schedule,
            keeper,
            committer=committer,
            shutdown=shutdown,
            beat=beat,
        )


def _wired(
    settings: Settings,
    redis: Redis,
    store: Store,
    schedule: Schedule,
    keeper: LeaseKeeper,
    *,
    committer: ThreadPoolExecutor,
    shutdown: Shutdown,
    beat: Callable[[], None],
) -> Application:
    """The parts that nobody has to close, and those, in their places."""
    log = StoreLog(store)
    outbox = Outbox(redis, SINK)
    return Application(
        settings=settings,
        redis=redis,
        store=store,
        log=log,
        keyring=Keyring(keys_of(settings)),
        registry=Registry(redis, store),
        schedule=schedule,
        ledger=RedisLedger(redis),
        keeper=keeper,
        outbox=outbox,
        brake=Brake(redis),
        quarantine=Quarantine(redis),
        pressure=BackPressure(outbox.depth, lambda: shutdown.closing),
        checkpoints=Checkpoints(redis, store),
        read_back=ReadBack(
            redis,
            store,
            log,
            spread_seconds=settings.poll_seconds,
            beat=beat,
            ahead=partial(ahead, committer),
        ),
        shutdown=shutdown,
        beat=beat,
        committer=committer,
        in_flight=InFlight(MOST_BATCHES),
    )


def _committer() -> AbstractContextManager[ThreadPoolExecutor]:
    return ThreadPoolExecutor(_COMMITTERS, thread_name_prefix="commit")


def _session_settings(settings: Settings) -> SessionSettings:
    return SessionSettings(
        limits=SessionLimits(
            settings.session_messages, settings.session_octets, settings.session_seconds
        ),
        batch_limits=BatchLimits(
            settings.batch_messages, settings.batch_octets, settings.batch_milliseconds
        ),
        thresholds=Thresholds(settings.extract_from, settings.extract_text_from),
        deployment=settings.deployment,
        strict_evidence=settings.strict_evidence,
    )


def _s3_options(settings: Settings) -> S3Options:
    return S3Options(
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        path_style=settings.s3_path_style,
        sse=settings.s3_sse,
        sse_kms_key_id=settings.s3_sse_kms_key_id,
    )
