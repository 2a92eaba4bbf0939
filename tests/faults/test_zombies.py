"""A worker that is stopped past its lease, while another one does its work, and wakes up again."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from ingest.model import Mailbox
from tests import messages
from tests.e2e.fleet import Fleet, Running, fleet, s3_settings, stored
from tests.faults.inside import Inside, inside, opened, registered
from tests.faults.invariants import (
    assert_all_arrived_once,
    assert_the_sweep_leaves_only_what_is_referred_to,
    delivered,
)
from tests.servers.dovecot import Dovecot, Maildrop
from tests.servers.seaweedfs import SeaweedFs
from tests.servers.valkey import Valkey

pytestmark = pytest.mark.exam

# In the middle of the large message, and of the second batch.
POINTS = {
    "octets-received": "60",
    "commit-sending": "2",
    "commit-written": "2",
    "dele-sent": "1",
    "quit-sending": "1",
}


@pytest.fixture
def ours(tmp_path: Path, valkey: Valkey, seaweedfs: SeaweedFs) -> Iterator[Fleet]:
    settings = {
        **s3_settings(seaweedfs, tmp_path.name),
        "INGEST_LEASE_SECONDS": "1",
        "INGEST_BATCH_MESSAGES": "5",
    }
    with fleet(tmp_path, valkey.url, settings) as made:
        yield made


def filled(maildrop: Maildrop) -> set[str]:
    small = [messages.small(seed).octets for seed in range(20)]
    return delivered(
        maildrop, [*small[:12], messages.with_attachment(1, 10**7).octets, *small[12:]]
    )


def is_stopped(worker: Running) -> bool:
    found = os.waitid(
        os.P_PID, worker.process.pid, os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT
    )
    assert found is None or found.si_code == os.CLD_STOPPED, "it died"
    return found is not None


def witnessed(ours: Fleet, maildrop: Maildrop) -> tuple[object, ...]:
    """All that a worker could change: what is left, what is stored, what was published."""
    with ours.store() as store:
        ids = {(record.id, record.events[0].id) for record in stored(store)}
    return maildrop.messages(), ids, ours.events()


def obey(ours: Fleet, mailbox: Mailbox, delete: str) -> None:
    """Set the delete rule."""
    with opened(ours) as application:
        seen = application.registry.get(mailbox.id)
        application.registry.update(msgspec.structs.replace(seen, delete=delete), seen=seen)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_wakes_up_there_after_its_lease_changes_nothing(
    point: str, ours: Fleet, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    expected = filled(maildrop)
    mailbox = registered(ours, maildrop, dovecot.pop3_port)
    zombie = ours.launch(
        [sys.executable, "-m", "tests.faults.armed", mailbox.group, point, POINTS[point], "STOP"]
    )
    ours.wait(partial(is_stopped, zombie))
    # The other one keeps all on the server, so that any delete of the zombie's would be seen.
    obey(ours, mailbox, "never")
    with inside(ours, maildrop, mailbox=mailbox) as other:
        ours.wait(partial(has_published, other, ours, expected))
    before = witnessed(ours, maildrop)
    zombie.process.send_signal(signal.SIGCONT)
    ours.wait(lambda: zombie.said("session_failed"))
    assert witnessed(ours, maildrop) == before
    assert maildrop.count() == len(expected)
    # It is a worker like any other again.
    obey(ours, mailbox, "committed")
    assert_all_arrived_once(ours, maildrop, expected)
    zombie.kill()
    assert_the_sweep_leaves_only_what_is_referred_to(ours)


def has_published(worker: Inside, ours: Fleet, expected: set[str]) -> bool:
    """Whether a turn of its was enough."""
    worker.turn()
    return {event.data.sha256 for event in ours.events()} == expected
