"""A worker inside the test's own process: quick, and struck exactly where the test wants it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from unittest import mock

from structlog.testing import capture_logs

from ingest import failpoints
from ingest.bootstrap import Application, open_application
from ingest.cli.sign_in import register
from ingest.errors import IngestError, StateError
from ingest.failpoints import Failpoint
from ingest.intake import pressure
from ingest.model import Mailbox
from ingest.state.registry import new_mailbox_id
from ingest.tasks import tasks, worker
from tests.e2e.fleet import Fleet
from tests.faults.invariants import (
    all_arrived,
    assert_nothing_has_two_ids,
    assert_nothing_is_lost,
    delivered,
)
from tests.servers.dovecot import Maildrop

_TURNS = 5


class Inside:
    """Does what the tasks do, one after the other, and lives through what fails, as Celery does.

    Args:
        ours: its settings, and where to see what came of it.
        maildrop: of its one mailbox.
        worker: the real one's parts.
        mailbox: registered.
    """

    def __init__(
        self, ours: Fleet, maildrop: Maildrop, worker: worker.Worker, mailbox: Mailbox
    ) -> None:
        self.mailbox = mailbox
        self.failures: list[IngestError] = []
        self._ours = ours
        self._maildrop = maildrop
        self._worker = worker
        self._expected: set[str] = set()

    def deliver(self, everything: Sequence[bytes]) -> None:
        """Put these into the maildrop."""
        self._expected |= delivered(self._maildrop, everything)

    def turn(self) -> None:
        """A session, the relay, and maintenance."""
        for task in (self.session, self._worker.relay.drain, tasks.read_back):
            try:
                task()
            except IngestError as error:
                self.failures.append(error)

    def session(self) -> None:
        """A session with the mailbox, due or not, unless somebody has a lease on it.

        Raises:
            IngestError: it failed.
        """
        application = self._worker.application
        with suppress(StateError):  # it may be due all the same
            application.schedule.schedule(self.mailbox, 0)
        settings = application.settings
        lease = application.schedule.claim(
            self.mailbox.group, settings.group_slots, settings.lease_seconds
        )
        if lease:
            failpoints.reach("claimed")
            self._worker.poller.poll(lease)
        else:
            time.sleep(0.05)  # an earlier session's lease has not expired yet

    def turn_into(self, point: Failpoint, strike: Callable[[], object], times: int = 1) -> None:
        """Take a turn, and strike when it comes to the point for the so-manieth time."""
        reached = 0

        def hook(here: Failpoint) -> None:
            nonlocal reached
            reached += here == point
            if here == point and reached == times:
                strike()

        with mock.patch.object(failpoints, "hook", hook):
            for _ in range(_TURNS):  # a busy machine may lose a lease on its way there
                self.turn()
                if reached >= times:
                    return
        raise AssertionError(f"it never came to {point}: {self.failures}")

    def assert_nothing_is_lost(self) -> None:
        assert_nothing_is_lost(self._ours, self._maildrop, self._expected)

    def assert_all_arrives_once(self, seconds: float = 60) -> None:
        """Take turns until all has arrived, none of it under two ids."""
        deadline = time.monotonic() + seconds
        while not all_arrived(self._ours, self._maildrop, self._expected):
            assert time.monotonic() < deadline, self.failures[-5:]
            self.turn()
        assert_nothing_has_two_ids(self._ours, self._expected)


@contextmanager
def inside(
    ours: Fleet,
    maildrop: Maildrop,
    port: int = 0,
    *,
    ca_file: str = "",
    mailbox: Mailbox | None = None,
) -> Iterator[Inside]:
    """A worker with the settings of a fleet, and one mailbox, for the length of the block.

    Args:
        ours: the fleet.
        maildrop: of the mailbox.
        port: where its server is; the mailbox is registered.
        ca_file: for a session under TLS.
        mailbox: one that is registered already.
    """
    with (
        mock.patch.dict(os.environ, ours.environment),
        # So long a batch may be on its way into the ledger; nobody else is at work here.
        mock.patch.object(tasks, "_YOUNG", timedelta(seconds=1.5)),
        # How long a failure of store or Redis keeps a worker from claiming and deleting.
        mock.patch.multiple(pressure, _STORE_SECONDS=0.2, _REDIS_SECONDS=0.2),
        capture_logs(),  # nobody reads them, and what is rendered takes time
    ):
        made = worker.Worker(ours.settings)
        # Suspects are tried in this process, too: no message of these tests can take it down.
        made.poller._run_isolated = lambda mailbox, lease, stop: made.application._run_session(
            mailbox, lease, stop, None, isolated=True
        )
        try:
            mailbox = mailbox or _registered(made.application, maildrop, port, ca_file)
            with mock.patch.object(worker, "_worker", made):
                yield Inside(ours, maildrop, made, mailbox)
        finally:
            made.close()


@contextmanager
def opened(ours: Fleet) -> Iterator[Application]:
    """The parts of a fleet, as a command of `ingest` has them."""
    with (
        mock.patch.dict(os.environ, ours.environment),
        open_application(ours.settings) as application,
    ):
        yield application


def registered(ours: Fleet, maildrop: Maildrop, port: int) -> Mailbox:
    """A mailbox for workers of other processes: quicker than `ingest mailbox add`."""
    with opened(ours) as application:
        return _registered(application, maildrop, port)


def _registered(
    application: Application, maildrop: Maildrop, port: int, ca_file: str = ""
) -> Mailbox:
    mailbox = Mailbox(
        id=new_mailbox_id(),
        name=maildrop.name,
        host="localhost",
        port=port,
        tls="implicit" if ca_file else "none",
        username=maildrop.name,
        password="env:DOVECOT_PASSWORD",
        ca_file=ca_file,
    )
    application.prepare()
    register(application, mailbox)
    return mailbox
