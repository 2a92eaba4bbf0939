"""A Redis that dies, forgets, fails over, fills up or hangs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Timer

import pytest
from redis import Redis

from ingest.failpoints import Failpoint
from ingest.state import connect
from ingest.tasks import tasks
from tests import messages
from tests.e2e.fleet import Fleet, fleet, s3_settings
from tests.faults.inside import Inside, inside, opened, registered
from tests.servers.dovecot import Dovecot, Maildrop
from tests.servers.ports import HOST, free_port
from tests.servers.proxy import Proxy, tcp_proxy
from tests.servers.seaweedfs import SeaweedFs
from tests.servers.valkey import Valkey, valkey_server

pytestmark = pytest.mark.exam

MESSAGES = [messages.small(seed).octets for seed in range(12)]


@pytest.fixture
def fragile() -> Iterator[Valkey]:
    """A Valkey of the test's own. Events go to another one, which remembers all there ever were."""
    with valkey_server() as server:
        yield server


Later = Callable[[float, Callable[[Valkey], None]], None]


@pytest.fixture
def later(fragile: Valkey) -> Iterator[Later]:
    """Does something to it so many seconds later, at the latest when the test is over."""
    timers: list[Timer] = []

    def begin(seconds: float, action: Callable[[Valkey], None]) -> None:
        timers.append(Timer(seconds, action, [fragile]))
        timers[-1].start()

    yield begin
    for timer in timers:
        timer.join()


@pytest.fixture
def ours(tmp_path: Path, fragile: Valkey, valkey: Valkey, seaweedfs: SeaweedFs) -> Iterator[Fleet]:
    settings = {
        **s3_settings(seaweedfs, tmp_path.name),
        "INGEST_EVENTS_URL": valkey.url,
        "INGEST_LEASE_SECONDS": "1",
        "INGEST_BATCH_MESSAGES": "5",
    }
    with fleet(tmp_path, fragile.url, settings) as made:
        yield made


@pytest.fixture
def worker(ours: Fleet, dovecot: Dovecot, maildrop: Maildrop) -> Iterator[Inside]:
    with inside(ours, maildrop, dovecot.pop3_port) as made:
        yield made


@pytest.mark.parametrize("point", ["ledger-updated", "quit-answered", "published"])
def test_a_redis_that_died_and_lost_its_last_writes_loses_no_message(
    point: Failpoint, worker: Inside, fragile: Valkey, later: Later
) -> None:
    def die() -> None:
        fragile.kill()
        fragile.truncate(400)
        later(1, Valkey.start)

    worker.deliver(MESSAGES)
    worker.turn_into(point, die)
    worker.assert_nothing_is_lost()
    worker.assert_all_arrives_once()
    assert worker.failures


@pytest.mark.usefixtures("worker")
def test_a_redis_that_lost_its_last_second_gets_the_mailboxes_of_it_from_the_store(
    ours: Fleet, fragile: Valkey, dovecot: Dovecot
) -> None:
    tasks.read_back()
    a_second_ago = fragile.snapshot()
    mailbox = registered(ours, dovecot.add_user("newcomer"), dovecot.pop3_port)
    fragile.roll_back(a_second_ago)
    with opened(ours) as application:
        assert mailbox not in application.registry.list()
        tasks.read_back()
        assert mailbox in application.registry.list()
        assert application.schedule.depth().scheduled == len(application.registry.list())


@pytest.mark.parametrize("checkpointed", [True, False], ids=["with a checkpoint", "without"])
@pytest.mark.parametrize("point", ["commit-written", "quit-answered", "published"])
def test_a_redis_rolled_back_to_an_hour_ago_loses_no_message(
    point: Failpoint, worker: Inside, fragile: Valkey, *, checkpointed: bool
) -> None:
    an_hour_ago = fragile.snapshot()
    if checkpointed:
        tasks.read_back()
    worker.deliver(MESSAGES)
    worker.turn_into(point, lambda: fragile.roll_back(an_hour_ago))
    worker.assert_nothing_is_lost()
    worker.assert_all_arrives_once()


@pytest.mark.parametrize("point", ["commit-written", "quit-answered", "published"])
def test_a_redis_that_lost_everything_loses_no_message(
    point: Failpoint, worker: Inside, fragile: Valkey
) -> None:
    def die() -> None:
        fragile.kill()
        fragile.empty()
        fragile.start()

    worker.deliver(MESSAGES)
    worker.turn_into(point, die)
    worker.assert_nothing_is_lost()
    worker.assert_all_arrives_once()


@pytest.mark.parametrize("point", ["listed", "commit-written", "quit-sent", "publishing"])
def test_a_redis_without_memory_loses_no_message_and_is_made_use_of_again(
    point: Failpoint, worker: Inside, fragile: Valkey
) -> None:
    worker.deliver(MESSAGES)
    with contextlib.closing(Redis.from_url(fragile.url)) as client:
        worker.turn_into(point, lambda: client.config_set("maxmemory", 1))
        worker.turn()
        worker.assert_nothing_is_lost()
        assert "state_refused" in {failure.code for failure in worker.failures}
        client.config_set("maxmemory", 0)
    worker.assert_all_arrives_once()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "ANSWER_SECONDS", 0.2)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("point", ["ledger-updated", "quit-answered", "published"])
def test_a_redis_that_hangs_for_longer_than_we_wait_loses_no_message(
    point: Failpoint, worker: Inside, fragile: Valkey, later: Later
) -> None:
    def hang() -> None:
        fragile.pause()
        later(3, Valkey.resume)  # four attempts, and what lies between them, take half as long

    worker.deliver(MESSAGES)
    worker.turn_into(point, hang)
    worker.assert_nothing_is_lost()
    assert "state_unavailable" in {failure.code for failure in worker.failures}
    worker.assert_all_arrives_once()


class Pair:
    """A primary, its replica, the line between them, and the one socket that clients know."""

    def __init__(self, primary: Valkey, replica: Valkey, line: Proxy) -> None:
        self._primary = primary
        self._replica = replica
        self._line = line
        self._socket = primary.directory / "current"
        self._socket.symlink_to(primary.directory / "s")
        self.url = f"unix://{self._socket}"
        self._tell(replica, "REPLICAOF", HOST, line.port)
        while self._tell(replica, "ROLE")[3] != b"connected":
            time.sleep(0.02)

    def part(self) -> None:
        """Cut the line: what is written from now on the replica misses."""
        with contextlib.closing(Redis.from_url(self._primary.url)) as client:
            client.set("parted", 1)  # WAIT is for what its own connection wrote, and before that
            assert client.wait(1, 5000) == 1
        self._line.cut_up = self._line.cut_down = 0

    def fail_over(self, *, kill: bool) -> None:
        """Promote the replica; the old primary dies, or becomes a replica itself."""
        self._tell(self._replica, "REPLICAOF", "NO", "ONE")
        self._socket.unlink()
        self._socket.symlink_to(self._replica.directory / "s")
        if kill:
            self._primary.kill()
        else:
            self._tell(self._primary, "REPLICAOF", HOST, free_port())

    @staticmethod
    def _tell(server: Valkey, *command: str | int) -> Sequence[bytes]:
        with contextlib.closing(Redis.from_url(server.url)) as client:
            answer: Sequence[bytes] = client.execute_command(*command)  # type: ignore[no-untyped-call]  # theirs
            return answer


@pytest.fixture
def pair() -> Iterator[Pair]:
    port = free_port()
    with (
        valkey_server("--port", str(port), "--repl-diskless-sync-delay", "0") as primary,
        valkey_server() as replica,
        tcp_proxy(HOST, port) as line,
    ):
        yield Pair(primary, replica, line)


@pytest.mark.parametrize("kill", [True, False], ids=["dies", "becomes a replica"])
@pytest.mark.parametrize("point", ["ledger-updated", "quit-answered"])
def test_a_primary_that_gives_way_to_a_replica_which_misses_its_last_writes_loses_no_message(
    point: Failpoint, pair: Pair, ours: Fleet, dovecot: Dovecot, maildrop: Maildrop, *, kill: bool
) -> None:
    settings = {**ours.environment, "INGEST_REDIS_URL": pair.url}
    with (
        fleet(ours.directory, pair.url, settings) as made,
        inside(made, maildrop, dovecot.pop3_port) as worker,
    ):
        pair.part()
        worker.deliver(MESSAGES)
        worker.turn_into(point, lambda: pair.fail_over(kill=kill))
        worker.assert_nothing_is_lost()
        worker.assert_all_arrives_once()
