"""Lost, rolled back, restarted: what is noticed, and what comes back from the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from redis import Redis

from ingest.errors import StateUnavailable, StoreChanged
from ingest.model import Lease, Record
from ingest.state import readback as readback_module
from ingest.state.checkpoint import MARGIN, Checkpoint, Checkpoints
from ingest.state.commands import Commands
from ingest.state.connect import connect
from ingest.state.ledger import RedisLedger
from ingest.state.outbox import Outbox
from ingest.state.readback import Commit, ReadBack
from ingest.state.registry import Registry
from ingest.state.schedule import Schedule
from tests.fakes.mail_values import BATCH, commitment, mailbox, record
from tests.fakes.memory_store import MemoryStore
from tests.servers.valkey import Valkey, valkey_server

LATER = datetime(2100, 1, 1, tzinfo=UTC)


class Log:
    """Commit objects, and from when on they were asked for."""

    def __init__(self) -> None:
        self.commits: list[Commit] = []
        self.asked: list[datetime | None] = []
        self.between: Callable[[], object] = lambda: None

    def committed(self, since: datetime | None = None) -> Iterable[str]:
        self.asked.append(since)
        for commit in list(self.commits):
            self.between()
            yield commit.batch

    def records(self, batch: str) -> Sequence[Record]:
        return next(commit.records for commit in self.commits if commit.batch == batch)


class Fleet:
    """All parts of the state on one Redis and one store."""

    def __init__(self, client: Redis, store: MemoryStore, log: Log) -> None:
        self.client = client
        self.log = log
        self.beats = 0
        self.checkpoints = Checkpoints(client, store)
        self.readback = ReadBack(client, store, log, spread_seconds=30, beat=self.beat)
        self.registry = Registry(client, store)
        self.schedule = Schedule(client)
        self.ledger = RedisLedger(client)
        self.outbox = Outbox(client, "sink")

    def write(self, compared: datetime) -> Checkpoint | None:
        return self.checkpoints.write(compared, self.checkpoints.look())

    def beat(self) -> None:
        self.beats += 1

    def compare(self, *batches: str) -> int:
        """How many of them were read back."""
        return self.readback.compare(batches, lambda: None)[0]

    def ingest(self, octets: str, batch: str) -> None:
        """A batch in the log and in the ledger."""
        self.log.commits.append(Commit(batch, [record(octets, unique_id=octets, batch=batch)]))
        self.ledger.commit(self.lease(), [commitment(octets, octets, batch)])

    def lease(self) -> Lease:
        lease = self.schedule.claim_mailbox(mailbox(), 0)
        assert lease
        return lease

    def published(self) -> list[str]:
        events = self.outbox.read(100)
        self.outbox.acknowledge([event.entry for event in events])
        return [event.json for event in events]


def set_to(store: MemoryStore, objects: Mapping[str, bytes]) -> None:
    store.objects.clear()
    store.objects.update(objects)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def fleet(client: Redis, store: MemoryStore, log: Log) -> Fleet:
    return Fleet(client, store, log)


@pytest.fixture
def mortal(server: Valkey, store: MemoryStore, log: Log) -> Fleet:
    """On a Redis of its own, to be restarted."""
    return Fleet(connect(server.url), store, log)


@pytest.fixture
def server() -> Iterator[Valkey]:
    with valkey_server() as server:
        yield server


def test_a_new_installation_reads_nothing_back_and_may_claim(fleet: Fleet) -> None:
    fleet.registry.add(mailbox())
    assert fleet.checkpoints.lost()
    done = fleet.readback.run_if_lost()
    assert done == (None, 1, 0, 0)
    assert not fleet.checkpoints.lost()
    assert fleet.schedule.depth().scheduled == 1
    assert fleet.readback.run_if_lost() is None


def test_an_empty_redis_has_everything_again_from_the_log(fleet: Fleet) -> None:
    fleet.readback.run_if_lost()
    fleet.registry.add(mailbox())
    fleet.ingest("one", BATCH)
    fleet.write(LATER)
    fleet.client.flushall()
    assert fleet.checkpoints.lost()
    assert fleet.schedule.claim(mailbox().group, 10, 60) is None
    done = fleet.readback.run_if_lost()
    assert done
    assert done[1:] == (1, 1, 1)
    assert fleet.published() == [record("one").events[0].json]
    assert fleet.ledger.known("mb-a", ["one"])
    assert not fleet.checkpoints.lost()
    assert fleet.ledger.unknown_batches([BATCH]) == []


def test_a_read_back_shows_all_the_while_that_it_is_at_work(fleet: Fleet) -> None:
    fleet.log.commits += [Commit(f"01{n}", [record(str(n))]) for n in range(9)]
    fleet.readback.run_if_lost()
    assert fleet.beats >= 9


def test_the_log_is_read_from_the_checkpoint_on(fleet: Fleet) -> None:
    fleet.readback.run_if_lost()
    written = fleet.write(LATER)
    assert written
    fleet.client.flushall()
    fleet.readback.run_if_lost()
    assert fleet.log.asked == [None, written.before]


def test_a_checkpoint_claims_no_more_than_every_sink_has(fleet: Fleet) -> None:
    fleet.readback.run_if_lost()
    now = datetime.fromtimestamp(fleet.ledger.horizon("x").now, UTC)
    compared = now - timedelta(hours=1)
    assert (checkpoint := fleet.write(compared))
    assert checkpoint.before == compared - MARGIN
    fleet.client.xadd(
        "mail-ingest:outbox", {"id": "a", "type": "t", "mailbox": "m", "json": "{}"}, id="5000-0"
    )
    assert (checkpoint := fleet.write(compared))
    assert checkpoint.before == datetime.fromtimestamp(5, UTC) - MARGIN
    fleet.published()
    assert (checkpoint := fleet.write(LATER))
    assert checkpoint.before
    assert now - MARGIN <= checkpoint.before < LATER - MARGIN


def test_a_checkpoint_passes_over_no_event_of_an_old_batch_that_was_put_only_now(
    fleet: Fleet,
) -> None:
    fleet.readback.run_if_lost()
    fleet.log.commits.append(Commit(BATCH, [record("one")]))
    assert fleet.compare(BATCH) == 1
    assert (checkpoint := fleet.write(LATER))
    assert checkpoint.before is None
    fleet.client.flushall()
    fleet.readback.run_if_lost()
    assert (checkpoint := fleet.write(LATER))
    assert checkpoint.before is None
    assert fleet.published() == [record("one").events[0].json]
    assert (checkpoint := fleet.write(LATER))
    assert checkpoint.before


def test_a_redis_rolled_back_since_it_was_last_looked_at_writes_no_checkpoint(
    fleet: Fleet, store: MemoryStore
) -> None:
    fleet.readback.run_if_lost()
    count = fleet.checkpoints.count()
    fleet.write(LATER)
    written = store.objects["checkpoint.json"]
    fleet.client.set("mail-ingest:checkpoints", count)  # as it was before
    assert fleet.write(LATER) is None
    assert store.objects["checkpoint.json"] == written
    assert fleet.checkpoints.lost()


def test_a_redis_rolled_back_while_it_is_looked_at_writes_no_checkpoint(
    fleet: Fleet, store: MemoryStore
) -> None:
    fleet.readback.run_if_lost()
    written = store.objects["checkpoint.json"]
    look = fleet.checkpoints.look()
    [steps] = fleet.client.keys("mail-ingest:looks:*")
    fleet.log.commits.append(Commit(BATCH, [record("one")]))
    fleet.readback.compare([BATCH], look.step)
    fleet.client.set(steps, 1)  # as it was before the batch was read back
    with pytest.raises(StateUnavailable, match="rolled back"):
        fleet.checkpoints.write(LATER, look)
    assert store.objects["checkpoint.json"] == written


def test_a_redis_that_is_not_whole_writes_no_checkpoint(fleet: Fleet, store: MemoryStore) -> None:
    assert fleet.write(LATER) is None
    assert store.objects == {}


def test_a_restarted_redis_lets_nobody_claim_until_it_is_compared_with_the_store(
    server: Valkey, mortal: Fleet
) -> None:
    mortal.readback.run_if_lost()
    mortal.registry.add(mailbox())
    mortal.schedule.schedule(mailbox(), -1)
    written = mortal.write(LATER)
    mortal.ingest("one", BATCH)
    server.kill()
    server.truncate(1)
    server.start()
    seen: list[object] = []

    def meanwhile() -> None:
        assert not mortal.ledger.known("mb-a", ["one"])
        seen.append(mortal.schedule.claim(mailbox().group, 10, 60))
        seen.append(mortal.schedule.groups_due() or None)
        seen.append(mortal.readback.run_if_lost())
        with pytest.raises(StateUnavailable, match="restarted"):
            mortal.lease()

    mortal.log.between = meanwhile
    assert written
    assert mortal.readback.run_if_lost() == (written.compared, 1, 1, 1)
    assert seen == [None] * 3
    assert mortal.ledger.known("mb-a", ["one"])
    assert mortal.published() == [record("one").events[0].json]
    assert mortal.schedule.groups_due()
    assert mortal.schedule.claim(mailbox().group, 10, 60)
    assert mortal.readback.run_if_lost() is None


def test_a_redis_restarted_while_it_is_compared_is_compared_again(
    server: Valkey, mortal: Fleet
) -> None:
    mortal.readback.run_if_lost()
    mortal.ingest("one", BATCH)
    epoch = mortal.checkpoints.epoch()

    def restart() -> None:
        server.restart()

    restart()
    mortal.log.between = restart
    with pytest.raises(StateUnavailable):
        mortal.readback.run_if_lost()
    assert not mortal.checkpoints.whole()
    mortal.log.between = lambda: None
    assert mortal.readback.run_if_lost() == (None, 0, 0, 0)
    assert mortal.checkpoints.whole()
    assert mortal.checkpoints.epoch() == epoch


def test_what_was_compared_once_is_not_compared_again_at_the_next_restart(
    server: Valkey, mortal: Fleet, store: MemoryStore
) -> None:
    """As by commands that start Redis and end it, where no worker ever writes a checkpoint."""
    mortal.readback.run_if_lost()
    mortal.ingest("one", BATCH)
    began = store.now()
    for _ in range(2):
        server.restart()
        assert mortal.readback.run_if_lost()
    assert mortal.log.asked[:2] == [None, None]
    since = mortal.log.asked[2]
    assert since
    assert began - MARGIN <= since <= store.now() - MARGIN


def test_a_failover_back_does_not_bring_a_redis_that_is_taken_for_whole(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.readback.run_if_lost()
    fleet.ingest("one", BATCH)
    fleet.client.set("mail-ingest:run-id", "of the first")

    def fail() -> None:
        raise StateUnavailable("stopped")

    fleet.log.between = fail
    with pytest.raises(StateUnavailable, match="stopped"):
        fleet.readback.run_if_lost()
    monkeypatch.setattr(Checkpoints, "run_id", lambda _: "of the first")
    assert not fleet.checkpoints.whole()


def test_a_comparison_keeps_its_lock_while_it_lists_what_is_known(
    fleet: Fleet, run: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readback_module, "_EXTEND_EVERY", -1)
    fleet.readback.run_if_lost()
    for batch in ("01A", "01B", "01C"):
        fleet.ingest(batch, batch)
    fleet.client.delete("mail-ingest:run-id")
    lasts: list[int] = []

    def slowly() -> None:
        lasts.append(run.run("TTL", run.key("read-back")))
        run.run("EXPIRE", run.key("read-back"), 1)

    fleet.log.between = slowly
    beats = fleet.beats
    assert fleet.readback.run_if_lost()
    assert len(lasts) == 3
    assert min(lasts) > 1
    assert fleet.beats >= beats + 3


def test_a_redis_rolled_back_behind_its_checkpoint_is_read_back(
    server: Valkey, mortal: Fleet
) -> None:
    mortal.readback.run_if_lost()
    mortal.ingest("kept", "01A")
    assert len(mortal.published()) == 1
    snapshot = server.snapshot()
    mortal.ingest("lost", "01B")
    mortal.write(LATER)
    server.roll_back(snapshot)
    assert mortal.ledger.known("mb-a", ["kept", "lost"]).keys() == {"kept"}
    assert mortal.checkpoints.lost()
    assert mortal.readback.run_if_lost()
    assert mortal.ledger.known("mb-a", ["kept", "lost"]).keys() == {"kept", "lost"}
    assert mortal.published() == [record("lost").events[0].json]
    assert not mortal.checkpoints.lost()


def test_another_redis_is_noticed_though_it_is_whole(fleet: Fleet, run: Commands) -> None:
    fleet.readback.run_if_lost()
    fleet.write(LATER)
    run.run("SET", run.key("epoch"), "another")
    assert fleet.checkpoints.lost()


@pytest.mark.parametrize("withdrawn", [False, True])
def test_a_store_that_lost_what_redis_knows_is_refused_and_changes_nothing(
    fleet: Fleet, store: MemoryStore, *, withdrawn: bool
) -> None:
    fleet.readback.run_if_lost()
    fleet.registry.add(mailbox())
    fleet.ingest("one", BATCH)
    if withdrawn:
        fleet.checkpoints.withdraw()
    whole = dict(store.objects)
    store.objects.clear()
    with pytest.raises(StoreChanged):
        fleet.readback.run_if_lost()
    assert [one.id for one in fleet.registry.list()] == ["mb-a"]
    assert store.objects == {}
    store.objects.update(whole)
    assert bool(fleet.readback.run_if_lost()) == withdrawn
    assert not fleet.checkpoints.lost()


@pytest.mark.parametrize("withdrawn", [False, True])
def test_a_store_that_was_set_back_to_an_older_copy_is_refused_and_changes_nothing(
    fleet: Fleet, store: MemoryStore, *, withdrawn: bool
) -> None:
    fleet.readback.run_if_lost()
    older = dict(store.objects)
    fleet.registry.add(mailbox())
    for _ in range(2):
        assert fleet.write(LATER)
    if withdrawn:
        fleet.checkpoints.withdraw()
    whole = dict(store.objects)
    set_to(store, older)
    with pytest.raises(StoreChanged, match="has checkpoint 1, and has confirmed checkpoint 3"):
        fleet.readback.run_if_lost()
    if withdrawn:
        with pytest.raises(StoreChanged):
            fleet.readback.restore_mailboxes()
    assert fleet.write(LATER) is None
    assert [one.id for one in fleet.registry.list()] == ["mb-a"]
    assert store.objects == older
    set_to(store, whole)
    assert bool(fleet.readback.run_if_lost()) == withdrawn
    assert fleet.write(LATER)


def test_a_store_that_was_set_back_is_taken_for_true_by_an_empty_redis(
    fleet: Fleet, store: MemoryStore
) -> None:
    fleet.readback.run_if_lost()
    older = dict(store.objects)
    for _ in range(2):
        fleet.write(LATER)
    set_to(store, older)
    fleet.client.flushall()
    assert fleet.readback.run_if_lost()
    assert fleet.write(LATER)
    assert not fleet.checkpoints.lost()


def test_a_checkpoint_that_was_overtaken_by_the_next_is_no_older_copy(
    fleet: Fleet, store: MemoryStore
) -> None:
    fleet.readback.run_if_lost()
    slow, fast = fleet.write(LATER), fleet.write(LATER)
    assert slow
    assert fast
    assert fast.count == slow.count + 1
    store.put("checkpoint.json", msgspec.json.encode(slow))
    assert not fleet.checkpoints.lost()
    assert (later := fleet.write(LATER))
    assert later.count > fast.count


def test_no_checkpoint_is_written_to_a_store_that_was_emptied_in_the_middle_of_a_comparison(
    fleet: Fleet, store: MemoryStore
) -> None:
    fleet.readback.run_if_lost()
    store.objects.clear()
    assert fleet.write(LATER) is None
    assert store.objects == {}


def test_while_one_worker_reads_back_others_neither_do_nor_claim(fleet: Fleet) -> None:
    fleet.schedule.schedule(mailbox(), -1)
    fleet.log.commits.append(Commit(BATCH, [record("one")]))
    seen: list[object] = []

    def meanwhile() -> None:
        seen.append(fleet.readback.run_if_lost())
        seen.append(fleet.schedule.claim(mailbox().group, 10, 60))

    fleet.log.between = meanwhile
    assert fleet.readback.run_if_lost()
    assert seen == [None, None]
    assert fleet.log.asked == [None]


def test_a_rolled_back_redis_lets_nobody_claim_while_it_is_read_back(
    fleet: Fleet, run: Commands
) -> None:
    fleet.readback.run_if_lost()
    fleet.registry.add(mailbox())
    fleet.write(LATER)
    run.run("SET", run.key("checkpoints"), 0)
    fleet.schedule.schedule(mailbox(), -1)
    fleet.log.commits.append(Commit(BATCH, [record("one")]))
    seen: list[object] = []
    fleet.log.between = lambda: seen.append(fleet.schedule.claim(mailbox().group, 10, 60))
    fleet.readback.run_if_lost()
    assert seen == [None]
    assert fleet.schedule.claim(mailbox().group, 10, 60)


def test_a_failed_read_back_leaves_redis_lost_and_the_lock_free(fleet: Fleet) -> None:
    fleet.log.commits.append(Commit(BATCH, [record("one")]))

    def broken() -> None:
        raise StateUnavailable("gone")

    fleet.log.between = broken
    with pytest.raises(StateUnavailable):
        fleet.readback.run_if_lost()
    assert fleet.checkpoints.lost()
    fleet.log.between = lambda: None
    assert fleet.readback.run_if_lost()
    assert not fleet.checkpoints.lost()


def test_a_read_back_that_lost_its_lock_stops_where_it_is(
    fleet: Fleet, run: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readback_module, "_EXTEND_EVERY", -1)
    fleet.log.commits += [Commit("01A", [record("one")]), Commit("01B", [record("two")])]
    fleet.log.between = lambda: run.run("SET", run.key("read-back"), "somebody else")
    with pytest.raises(StateUnavailable, match="lock"):
        fleet.readback.run_if_lost()
    assert fleet.checkpoints.lost()
    assert fleet.ledger.unknown_batches(["01A", "01B"]) == ["01B"]
    assert run.run("GET", run.key("read-back")) == b"somebody else"


def test_a_redis_that_died_during_its_read_back_is_read_back_again(
    server: Valkey, mortal: Fleet
) -> None:
    """It has the lock, and may have forgotten what was read back in its last second."""
    mortal.registry.add(mailbox())
    mortal.log.commits.append(Commit(BATCH, [record("one")]))

    def die() -> None:
        server.restart()

    mortal.log.between = die
    with pytest.raises(StateUnavailable, match="died"):
        mortal.readback.run_if_lost()
    assert mortal.checkpoints.lost()
    mortal.log.between = lambda: None
    assert mortal.readback.run_if_lost()
    assert not mortal.checkpoints.lost()


def test_a_lock_lost_at_the_very_end_leaves_the_end_to_its_new_owner(
    fleet: Fleet, run: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Checkpoints.put

    def slowly(checkpoints: Checkpoints, checkpoint: Checkpoint) -> Checkpoint:
        run.run("SET", run.key("read-back"), "somebody else")
        return put(checkpoints, checkpoint)

    monkeypatch.setattr(Checkpoints, "put", slowly)
    with pytest.raises(StateUnavailable, match="lock"):
        fleet.readback.run_if_lost()
    assert fleet.checkpoints.lost()


def test_a_read_back_that_another_worker_has_just_done_is_not_done_again(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.readback.run_if_lost()
    answers = iter([True, False])
    monkeypatch.setattr(Checkpoints, "lost", lambda _: next(answers))
    assert fleet.readback.run_if_lost() is None
    assert fleet.log.asked == [None]  # by the other one


def test_mailboxes_are_known_again_before_the_log_is_read_back(fleet: Fleet) -> None:
    fleet.readback.run_if_lost()
    fleet.registry.add(mailbox("a"))
    fleet.ingest("one", BATCH)
    fleet.client.flushall()
    fleet.readback.restore_mailboxes()
    assert [one.id for one in fleet.registry.list()] == ["mb-a"]
    assert fleet.log.asked == [None]  # for the new installation, and not again
    assert fleet.schedule.claim(mailbox().group, 10, 60) is None
    done = fleet.readback.run_if_lost()
    assert done
    assert done.batches == 1


def test_to_know_mailboxes_the_store_is_not_asked_while_redis_is_whole(
    fleet: Fleet, store: MemoryStore
) -> None:
    fleet.readback.restore_mailboxes()
    assert fleet.checkpoints.epoch()
    store.journal.clear()
    fleet.readback.restore_mailboxes()
    assert store.journal == []


def test_an_emptied_store_does_not_make_redis_forget_the_mailboxes(
    fleet: Fleet, store: MemoryStore
) -> None:
    fleet.readback.run_if_lost()
    fleet.registry.add(mailbox("a"))
    fleet.checkpoints.withdraw()
    store.objects.clear()
    with pytest.raises(StoreChanged):
        fleet.readback.restore_mailboxes()
    assert [one.id for one in fleet.registry.list()] == ["mb-a"]


def test_a_read_back_keeps_its_lock_while_it_reads_many_mailboxes(
    fleet: Fleet, run: Commands, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readback_module, "_EXTEND_EVERY", -1)
    fleet.registry.add(mailbox("a"))
    read = store.read

    def slowly(key: str, start: int = 0, octets: int | None = None) -> Iterator[bytes]:
        if key.startswith("mailboxes/"):
            lasts.append(run.run("TTL", run.key("read-back")))
            run.run("EXPIRE", run.key("read-back"), 1)
        return read(key, start, octets)

    lasts: list[int] = []
    monkeypatch.setattr(store, "read", slowly)
    fleet.registry.add(mailbox("b"))
    fleet.readback.run_if_lost()
    assert len(lasts) == 2
    assert min(lasts) > 1
    assert fleet.beats >= 2


def test_mailboxes_that_were_removed_are_not_polled_again_after_a_roll_back(
    fleet: Fleet, store: MemoryStore
) -> None:
    fleet.registry.add(mailbox("a"))
    fleet.registry.add(msgspec.structs.replace(mailbox("b"), paused="by hand"))
    fleet.readback.run_if_lost()
    store.delete(["mailboxes/mb-a.json"])
    fleet.client.delete("mail-ingest:epoch")
    assert fleet.readback.run_if_lost()
    assert fleet.schedule.depth().scheduled == 0
    assert [one.id for one in fleet.registry.list()] == ["mb-b"]


def test_a_batch_whose_worker_died_before_the_ledger_is_read_back(fleet: Fleet) -> None:
    fleet.readback.run_if_lost()
    fleet.ingest("one", "01A")
    fleet.published()
    fleet.log.commits.append(Commit("01B", [record("two", unique_id="two", batch="01B")]))
    assert fleet.compare("01A", "01B") == 1
    assert fleet.compare("01A", "01B") == 0
    assert fleet.published() == [record("two").events[0].json]
    assert fleet.ledger.known("mb-a", ["two"])
