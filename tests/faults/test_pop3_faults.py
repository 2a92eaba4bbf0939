"""A line to the server that is cut, garbled or stalls anywhere, and a maildrop that is locked."""

from __future__ import annotations

import contextlib
import poplib
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

from ingest import bootstrap
from ingest.errors import DeadlineExceeded, MaildropBusy, SessionError
from ingest.objects.budget import BLOCK
from ingest.transport.deadlines import Deadlines
from tests import messages
from tests.e2e.fleet import Fleet, fleet, s3_settings
from tests.faults.inside import Inside, inside
from tests.faults.invariants import assert_the_sweep_leaves_only_what_is_referred_to
from tests.servers.dovecot import Dovecot, Maildrop
from tests.servers.proxy import Proxy, tcp_proxy
from tests.servers.seaweedfs import SeaweedFs
from tests.servers.valkey import Valkey

pytestmark = pytest.mark.exam

SESSIONS = 4  # in which a mailbox must be drained once its line is whole

Direction = Literal["up", "down"]


@pytest.fixture
def ours(tmp_path: Path, valkey: Valkey) -> Iterator[Fleet]:
    with fleet(tmp_path, valkey.url) as made:
        yield made


class Line(NamedTuple):
    """A worker, the line to its server, and the messages that come next."""

    worker: Inside
    proxy: Proxy
    maildrop: Maildrop
    numbers: Iterator[int]

    def deliver(self, make: Callable[[int], bytes], messages: int = 1) -> None:
        """Put new messages, each as long as those before, into the maildrop."""
        self.worker.deliver([make(next(self.numbers)) for _ in range(messages)])

    def so_far(self, direction: Direction) -> int:
        """How many octets have passed."""
        return self.proxy.octets_up if direction == "up" else self.proxy.octets_down

    def octets(self, direction: Direction) -> int:
        """How many octets a whole session with what was delivered takes."""
        before = self.so_far(direction)
        self.worker.session()
        assert not self.maildrop.count()
        return self.so_far(direction) - before

    def drain(self) -> None:
        """What the broken session left is done once the line is whole again, and soon."""
        proxy = self.proxy
        proxy.cut_up = proxy.cut_down = proxy.flip_down = proxy.stall_down = None
        for _ in range(SESSIONS):
            if self.maildrop.count():
                with contextlib.suppress(SessionError):  # the server still ends the one before
                    self.worker.session()
        assert not self.maildrop.count()


@contextlib.contextmanager
def line(ours: Fleet, dovecot: Dovecot, maildrop: Maildrop, *, tls: bool = False) -> Iterator[Line]:
    port = dovecot.pop3s_port if tls else dovecot.pop3_port
    ca_file = str(dovecot.ca_file) if tls else ""
    with (
        tcp_proxy(dovecot.host, port) as proxy,
        inside(ours, maildrop, proxy.port, ca_file=ca_file) as worker,
    ):
        yield Line(worker, proxy, maildrop, count())


def tiny(number: int) -> bytes:
    return b"Subject: %06d\r\n\r\n.\r\n.a\r\n" % number


def cut_each(
    made: Line, make: Callable[[int], bytes], direction: Direction, places: Iterable[int]
) -> None:
    for place in places:
        made.deliver(make, 2)
        setattr(made.proxy, f"cut_{direction}", made.so_far(direction) + place)
        with contextlib.suppress(SessionError):
            made.worker.session()
        made.drain()
    made.worker.assert_all_arrives_once()


@pytest.mark.parametrize("direction", ["down", "up"])
def test_a_session_that_is_cut_at_any_octet_costs_no_message(
    direction: Direction, ours: Fleet, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    with line(ours, dovecot, maildrop) as made:
        made.deliver(tiny, 2)
        octets = made.octets(direction)
        cut_each(made, tiny, direction, range(1, octets + 1))


def places(octets: int) -> list[int]:
    """Near the beginning, in the middle and near the end of so many octets."""
    return [
        *range(300, 2_000, 131),
        *range(2_000, octets - 300, (octets - 2_300) // 12),
        *range(octets - 300, octets + 1, 23),
    ]


def test_a_message_with_an_attachment_that_is_cut_in_any_region_costs_no_message(
    ours: Fleet, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    with line(ours, dovecot, maildrop) as made:
        made.deliver(with_attachment, 2)
        octets = made.octets("down")
        cut_each(made, with_attachment, "down", places(octets))
    assert_the_sweep_leaves_only_what_is_referred_to(ours)


def with_attachment(number: int) -> bytes:
    """About 90 KB, in which the attachment becomes an object of its own."""
    made = messages.with_attachment(1, 65_536).octets
    return b"X-Number: %07d\r\n" % number + made


def test_an_upload_whose_message_is_cut_is_begun_anew_and_leaves_nothing_behind(
    tmp_path: Path, valkey: Valkey, seaweedfs: SeaweedFs, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    with (
        fleet(tmp_path, valkey.url, s3_settings(seaweedfs, tmp_path.name)) as ours,
        line(ours, dovecot, maildrop) as made,
    ):
        made.worker.deliver([messages.with_attachment(1, BLOCK + 300_000).octets])
        # The first block of the upload is full after 96 % of the message.
        made.proxy.cut_down = made.so_far("down") + len(maildrop.messages()[0]) * 99 // 100
        with contextlib.suppress(SessionError):
            made.worker.session()
        with ours.store() as store:
            assert store.abort_uploads(store.now() + timedelta(days=1)) == 0
        made.drain()
        made.worker.assert_all_arrives_once()
        assert_the_sweep_leaves_only_what_is_referred_to(ours)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server is given a second, rather than half a minute or one."""
    deadlines = Deadlines(connect_seconds=1, idle_seconds=1)
    monkeypatch.setattr(bootstrap, "Deadlines", lambda **_: deadlines)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("fault", ["cut_down", "cut_up", "flip_down"])
def test_a_session_under_tls_that_is_cut_or_garbled_costs_no_message(
    fault: str, ours: Fleet, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    direction: Direction = "up" if fault == "cut_up" else "down"
    with line(ours, dovecot, maildrop, tls=True) as made:
        made.deliver(tiny, 2)
        octets = made.octets(direction)
        broken = 0
        for place in range(1, octets, octets // 30):
            made.deliver(tiny, 2)
            setattr(made.proxy, fault, made.so_far(direction) + place)
            try:
                made.worker.session()
            except SessionError:
                broken += 1
            made.drain()
        made.worker.assert_all_arrives_once()
    assert broken > 20


@pytest.mark.usefixtures("hasty")
def test_a_server_that_stalls_is_left_and_costs_no_message(
    ours: Fleet, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    with line(ours, dovecot, maildrop) as made:
        made.deliver(tiny, 2)
        octets = made.octets("down")
        for place in (10, octets // 2, octets * 3 // 4, octets - 50):
            made.deliver(tiny, 2)
            made.proxy.stall_down = made.so_far("down") + place
            with pytest.raises(DeadlineExceeded):
                made.worker.session()
            made.worker.assert_nothing_is_lost()
            made.drain()
        made.worker.assert_all_arrives_once()


def test_a_maildrop_that_somebody_else_has_locked_is_left_alone_until_it_is_free(
    ours: Fleet, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    user = dovecot.directory / "users" / maildrop.name
    user.write_text(f"{user.read_text().strip()}::::::userdb_pop3_lock_session=yes\n")
    with line(ours, dovecot, maildrop) as made:
        made.deliver(tiny, 2)
        somebody = poplib.POP3(dovecot.host, dovecot.pop3_port)
        somebody.user(maildrop.name)
        somebody.pass_(maildrop.password)
        with pytest.raises(MaildropBusy, match="IN-USE"):
            made.worker.session()
        assert maildrop.count() == 2
        somebody.quit()
        made.worker.assert_all_arrives_once()
