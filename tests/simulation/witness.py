"""What must hold, told from what servers, store, Redis and sink did, never from our own state."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from ingest.events.schema import CloudEvent
from ingest.intake.policy import MOST_ATTEMPTS
from ingest.intake.relay import OutboxEvent
from ingest.model import Record
from ingest.objects import keys
from ingest.state.commands import PREFIX
from ingest.state.ledger import RECORDS_KEPT
from tests.fakes.memory_store import MemoryStore
from tests.simulation.mail import PRIVATE, Message
from tests.simulation.pop3 import Server
from tests.simulation.redis_client import Request
from tests.simulation.redis_keys import Answer
from tests.simulation.redis_server import RedisServer
from tests.simulation.store_witness import Broken, StoreWitness

_KEEPING = {"never", "shadow"}
_BRAKE, _EPOCH, _BATCHES = (f"{PREFIX}{each}".encode() for each in ("brake", "epoch", "batches"))
_BATCHES_KEPT = 11 * 3600  # seconds; Redis keeps them for an hour longer
_CLOCKS_WRONG = 3600.0  # seconds, at most
_NOT_PARSED = "not-parsed"  # the defect
_EVER = datetime(1970, 1, 1, tzinfo=UTC)

# Scripts that change something for the holder of a lease: mailbox and lease id come first.
_LEASED = {"commit", "settle", "count_attempts", "take_back", "forget", "note_unlisted"}


class Held(NamedTuple):
    """Who has a mailbox, as the answers of Redis said."""

    lease: str
    until: float


class RedisWitness:
    """Sees every request and its answer.

    Args:
        redis: the server.
        store: what was written to it.
        servers: by mailbox.
    """

    def __init__(
        self, redis: RedisServer, store: StoreWitness, servers: Mapping[str, Server]
    ) -> None:
        self._redis = redis
        self._store = store
        self._servers = servers
        self._committed: dict[str, float] = {}  # when Redis last took in a batch
        self.leases: dict[str, Held] = {}

    @property
    def braked(self) -> bool:
        """Whether the brake is on."""
        return _BRAKE in self._redis.values

    def asked(self, request: Request, call: Callable[[], Answer]) -> Answer:
        """Let Redis answer, and see that only who holds a mailbox changes anything."""
        name, arguments = request.name, request.arguments
        match name:
            case "claim":
                return self._claimed(call(), arguments[2], float(arguments[1]))
            case "renew":
                return self._renewed(call(), arguments[1:], float(arguments[0]))
            case "release":
                answer = self._checked(name, arguments[1], arguments[2], call)
                if answer:
                    self.leases.pop(arguments[1], None)
                return answer
            case _ if name in _LEASED and arguments[1]:
                if name == "settle":
                    self._settled(arguments[0], arguments[2:])
                answer = self._checked(name, arguments[0], arguments[1], call)
                if name == "commit" and answer is not None:
                    self._committed[arguments[2]] = self._redis.clock()
                return answer
        return call()

    def _claimed(self, answer: bytes | None, lease: str, seconds: float) -> Answer:
        if answer is not None:
            mailbox, now = answer.decode(), self._redis.clock()
            if _EPOCH not in self._redis.values:
                raise Broken("5 leases", f"{mailbox} was handed out by a Redis that is not whole")
            self._check_index(mailbox)
            held = self.leases.get(mailbox)
            if held and held.until > now and held.lease != lease:
                raise Broken("5 leases", f"{mailbox} was handed out while it was held")
            self.leases[mailbox] = Held(lease, now + seconds)
        return answer

    def _check_index(self, mailbox: str) -> None:
        """Whatever Redis lost is read back before it hands out a mailbox."""
        recently = self._redis.clock() - _BATCHES_KEPT
        self._committed = {
            batch: time for batch, time in self._committed.items() if time > recently
        }
        known = self._redis.values.get(_BATCHES, {})
        for batch in self._committed:
            if batch.encode() not in known and self._store.may_be_told_again(batch):
                raise Broken("15 read back", f"{mailbox} was handed out before {batch} was")

    def _renewed(self, answer: Sequence[int], leases: Sequence[str], seconds: float) -> Answer:
        for mailbox, lease, kept in zip(leases[::2], leases[1::2], answer, strict=True):
            if kept and not self._holds(mailbox, lease):
                raise Broken("5 leases", f"a lost lease on {mailbox} was renewed")
            if kept:
                self.leases[mailbox] = Held(lease, self._redis.clock() + seconds)
        return answer

    def _checked(self, name: str, mailbox: str, lease: str, call: Callable[[], Answer]) -> Answer:
        if self._holds(mailbox, lease):
            return call()
        before = self._redis.snapshot()
        answer = call()
        if pickle.loads(before) != (self._redis.values, self._redis.ends):  # noqa: S301 - our own
            raise Broken("5 leases", f"{name} changed {mailbox} by a lease that was lost")
        return answer

    def _holds(self, mailbox: str, lease: str) -> bool:
        held = self.leases.get(mailbox)
        return held is not None and held.lease == lease

    def _settled(self, mailbox: str, unique_ids: Sequence[bytes]) -> None:
        for name in unique_ids:
            if name.decode() not in self._servers[mailbox].journal.farewells:
                raise Broken("11 settled", f"{mailbox}: before QUIT was answered +OK")


class Witness:
    """Sees everything that crosses a border."""

    def __init__(self, store: MemoryStore, redis: RedisServer) -> None:
        self.servers: dict[str, Server] = {}
        self.store = StoreWitness(store)
        self.redis = RedisWitness(redis, self.store, self.servers)
        self.delivered: Counter[tuple[str, str]] = Counter()  # by mailbox and SHA-256
        self.published: dict[str, list[str]] = {}  # event id to the bytes it was published with
        self._names: dict[tuple[str, str, str], str] = {}  # event ids by mailbox, SHA-256 and type
        self.poison: set[str] = set()  # SHA-256 of what the parser breaks or dies of
        self._excuses: Counter[str] = Counter()  # see `excuse`, by mailbox
        self.redis_lost_data = False
        self.braked_at = 0.0  # when a person last pulled the brake

    def delivered_to(self, mailbox: str, message: Message) -> None:
        """A message comes into a maildrop."""
        self.delivered[mailbox, message.sha256] += 1
        if message.poison:
            self.poison.add(message.sha256)

    def deleted(self, mailbox: str, message: Message, *, asked: bool) -> None:
        """A message is about to be marked, to leave its maildrop, or (not asked) to be hidden."""
        if not self.store.is_stored(mailbox, message.sha256):
            octets = len(message.octets)
            raise Broken("1 nothing is lost", f"{octets} octets of {mailbox} are stored nowhere")
        rule = self.servers[mailbox].rule
        told = rule != "published" or self.is_published(mailbox, message.sha256)
        if asked and (rule in _KEEPING or not told):
            raise Broken("13 delete rule", f"a message of {mailbox} is deleted, though {rule}")

    def confirming(self, mailbox: str, retrieved_at: float) -> None:
        """A QUIT is about to delete: the brake is asked right before, after all was retrieved."""
        if self.redis.braked and retrieved_at > self.braked_at:
            raise Broken("13 delete rule", f"messages of {mailbox} are deleted under the brake")

    def arrived(self, event: OutboxEvent) -> None:
        """The sink got an event."""
        known = self.published.setdefault(event.id, [])
        if event.json in known:
            return
        records = self.store.events(event.id)
        if event.json not in records:
            raise Broken("4 events", f"event {event.id} is not as a record has it")
        record = records[event.json]
        message = (record.mailbox, record.sha256, event.type)
        if self._names.setdefault(message, event.id) != event.id:
            raise Broken("4 events", f"record {record.id} was published by another id before")
        again = self.redis_lost_data and len(records) > 1
        if known and not again and not _was_forgotten(records.values()):
            raise Broken("4 events", f"event {event.id} was published with other bytes before")
        known.append(event.json)
        if len({_facts(version) for version in known if _parsed(records[version])}) > 1:
            raise Broken("4 events", f"event {event.id} was published with other facts before")
        if missing := self.store.dangling(event.json):
            raise Broken("6 references", f"event {event.id}: {missing}")

    def broke(self, error: object) -> None:
        """A session ended by what is no error of ours."""
        raise Broken("14 no bugs", repr(error))

    def logged(self, line: str) -> None:
        """A log line was written."""
        if PRIVATE in line:
            raise Broken("9 logs", line[:2000])

    # At the end

    def is_published(self, mailbox: str, sha256: str) -> bool:
        """Whether the message's event arrived."""
        rehearsed = self.servers[mailbox].rule == "shadow"
        return any(
            event.id in self.published
            for record in self.store.records_of(mailbox, sha256)
            for event in record.events
            if record.rehearsal == rehearsed
        )

    def check_messages(self) -> None:
        """All that was delivered is ours and was told, or is where it was."""
        for mailbox, sha256 in self.delivered:
            held = {one.message.sha256 for one in self.servers[mailbox].messages}
            stored = self.store.is_stored(mailbox, sha256) and self.is_published(mailbox, sha256)
            if not stored and sha256 not in held:
                raise Broken("2 every message", f"{sha256[:8]} of {mailbox} is nowhere")

    def check_records(self) -> None:
        """Records give back what servers served, and no healthy message was quarantined."""
        for record in self.store.records():
            if flaw := self.store.flaw(record):
                raise Broken("3 stored octets", f"{record.id}: {flaw}")
            if record.sha256 not in self.servers[record.mailbox].journal.served:
                raise Broken("3 stored octets", f"{record.id}: nobody served these")
            self._check_quarantine(record)

    def isolated(self, mailbox: str) -> None:
        """Messages are about to be tried in a process of their own."""
        poisoned = any(one.message.poison for one in self.servers[mailbox].messages)
        if not poisoned and not self._excused(mailbox):
            raise Broken("12 quarantine", f"messages of {mailbox} are suspected of nothing")

    def _check_quarantine(self, record: Record) -> None:
        """Only what the parser broke of, or what was tried too often for reasons nobody knows."""
        unparsed = any(defect.name == _NOT_PARSED for defect in record.defects)
        excuses = self._excused(record.mailbox)
        if unparsed and record.sha256 not in self.poison and excuses < MOST_ATTEMPTS:
            raise Broken("12 quarantine", f"{record.id} after {excuses} unexplained ends")

    def excuse(self, attempts: int = 1) -> None:
        """So many attempts at messages of mailboxes that are leased may never be taken back."""
        self._excuses.update(dict.fromkeys(self.redis.leases, attempts))

    def excuse_all(self) -> None:
        """Any attempt may be counted that was taken back, or cleared by a commit."""
        self._excuses.update(list(self.servers))

    def _excused(self, mailbox: str) -> int:
        """How many attempts nobody could take back, at most."""
        journal = self.servers[mailbox].journal
        return self._excuses[mailbox] + journal.shortened + journal.broken

    def check_references(self) -> None:
        """Every published event resolves."""
        for event_id, versions in self.published.items():
            for version in versions:
                if missing := self.store.dangling(version):
                    raise Broken("6 references", f"event {event_id}: {missing}")


def _parsed(record: Record) -> bool:
    return not any(defect.name == _NOT_PARSED for defect in record.defects)


def _was_forgotten(records: Iterable[Record]) -> bool:
    """Whether one may have been forgotten when another one of the same octets was committed."""
    times = [keys.begun(record.batch).timestamp() for record in records]
    return max(times) - min(times) > RECORDS_KEPT - _CLOCKS_WRONG


def _facts(event_json: str) -> bytes:
    """What the octets alone decide of an event: not when they came, nor where they were put."""
    event = msgspec.json.decode(event_json, type=CloudEvent)
    parts = tuple(msgspec.structs.replace(part, uri="") for part in event.data.parts)
    data = msgspec.structs.replace(event.data, session="", parts=parts, defects=())
    unplaced = msgspec.structs.replace(
        event, time=_EVER, sequence="", dataref="", traceparent=msgspec.UNSET, data=data
    )
    return msgspec.json.encode(unplaced)
