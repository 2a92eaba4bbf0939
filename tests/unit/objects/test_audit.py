"""What is proven, and how each kind of damage is named."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from ingest.errors import StoreRefused, StoreUnavailable
from ingest.model import Skeleton, record_id
from ingest.objects.audit import Patience, Verdict, examine, positions
from ingest.objects.commits import CommitReader, encode
from ingest.objects.counted import CountedStore
from tests import messages
from tests.fakes.world import World

SMALL, ATTACHED, LONG = range(3)
PLAIN = messages.small(1).octets
WITH_PART = messages.with_attachment(2, 3_000).octets
LARGE = messages.small(3).octets + b"A long line of text.\r\n" * 15_000  # a skeleton of its own
PROVEN = Verdict("proven")

Change = Callable[[bytes], bytes]


class Log:
    """One batch: a small message, one with an extracted part, one with a large skeleton."""

    def __init__(self) -> None:
        world = World(batch_messages=3)
        for octets in (PLAIN, WITH_PART, LARGE):
            world.deliver(octets)
        world.session()
        self.store = world.store
        self.records = world.records()
        [self.commit] = self.store.commits()
        self.batch = self.records[0].batch
        [self.part] = [part.key for part in self.records[ATTACHED].parts if part.key]
        self.skeleton = self.records[LONG].skeleton.key
        assert self.skeleton

    def wrong(self) -> dict[int | None, tuple[str, str]]:
        """By position, what is wrong and with which object."""
        return {
            one.position: (one.verdict.outcome, one.verdict.key)
            for one in examine(self.store, self.batch)
            if one.verdict != PROVEN
        }

    def alter(self, key: str, change: Change) -> None:
        before = self.store.objects[key]
        self.store.objects[key] = change(before)
        assert self.store.objects[key] != before

    def commit_again(self, position: int, **changes: object) -> None:
        """The commit object, whole, with another record there."""
        reader = CommitReader(self.store, self.commit)
        entries = [
            (record, None if record.skeleton.key else reader.skeleton(record.index))
            for record in self.records
        ]
        entries[position] = (
            msgspec.structs.replace(entries[position][0], **changes),
            entries[position][1],
        )
        self.store.objects[self.commit] = encode(entries)


@pytest.fixture
def log() -> Log:
    return Log()


def flip(at: int) -> Change:
    return lambda octets: b"".join((octets[:at], bytes([octets[at] ^ 1]), octets[at + 1 :]))


def flip_at(words: bytes, which: int = 0) -> Change:
    """Alter an octet where these words stand, the so-manieth time."""

    def change(octets: bytes) -> bytes:
        at = -1
        for _ in range(which + 1):
            at = octets.index(words, at + 1)
        return flip(at)(octets)

    return change


DAMAGE: dict[str, Change] = {
    "an octet altered": flip(500),
    "the first octet altered": flip(0),
    "an octet less": lambda octets: octets[:-1],
    "an octet more": lambda octets: octets + b"\0",
    "nothing left": lambda _: b"",
    "as many other octets": lambda octets: bytes(len(octets)),
}


def test_what_is_stored_as_it_came_is_proven(log: Log) -> None:
    found = list(examine(log.store, log.batch))
    assert [one.verdict for one in found] == [PROVEN] * 3
    assert [one.record for one in found] == log.records


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_part_that_is_damaged_is_named(log: Log, damage: str) -> None:
    log.alter(log.part, DAMAGE[damage])
    assert log.wrong() == {ATTACHED: ("damaged", log.part)}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_skeleton_of_its_own_that_is_damaged_is_named(log: Log, damage: str) -> None:
    log.alter(log.skeleton, DAMAGE[damage])
    assert log.wrong() == {LONG: ("damaged", log.skeleton)}


def test_every_single_octet_of_a_part_counts(log: Log) -> None:
    whole = log.store.objects[log.part]
    for at in range(0, len(whole), 7):
        log.store.objects[log.part] = flip(at)(whole)
        [one] = examine(log.store, log.batch, ATTACHED)
        assert one.verdict.key == log.part


@pytest.mark.parametrize("key", ["part", "skeleton"])
def test_an_object_that_is_gone_is_named_and_the_others_are_proven(log: Log, key: str) -> None:
    gone: str = getattr(log, key)
    log.store.delete([gone])
    assert list(log.wrong().values()) == [("missing", gone)]


@pytest.mark.parametrize("damage", ["an octet less", "an octet more", "nothing left"])
def test_a_commit_object_that_is_not_whole_is_one_finding(log: Log, damage: str) -> None:
    log.alter(log.commit, DAMAGE[damage])
    assert log.wrong() == {None: ("damaged", log.commit)}


def test_a_commit_object_that_is_gone_is_named(log: Log) -> None:
    log.store.delete([log.commit])
    assert log.wrong() == {None: ("missing", log.commit)}


def test_a_damaged_record_in_a_commit_object_hides_no_other(log: Log) -> None:
    log.alter(log.commit, flip_at(log.records[ATTACHED].sha256.encode()))
    assert log.wrong() == {ATTACHED: ("damaged", log.commit)}


def test_a_damaged_skeleton_in_a_commit_object_is_named(log: Log) -> None:
    log.alter(log.commit, flip_at(PLAIN[-40:]))
    assert log.wrong() == {SMALL: ("damaged", log.commit)}


def test_a_record_that_says_something_else_is_not_believed(log: Log) -> None:
    other = "00" * 32
    for changes in (
        {"octets": 1},
        {"sha256": other},
        {"sha256": other, "id": record_id("mb-a", other)},
        {"mailbox": "mb-b"},
        {"batch": "01JB0000000000000000000000"},
        {"program": (("copy", len(PLAIN) - 1),)},
        {"skeleton": Skeleton(len(PLAIN), other)},
        {"skeleton": Skeleton(1, log.records[SMALL].skeleton.sha256)},
    ):
        log.commit_again(SMALL, **changes)
        assert log.wrong() == {SMALL: ("damaged", log.commit)}, changes


def test_a_program_that_gives_other_octets_is_the_commit_objects_fault(log: Log) -> None:
    first, *rest = log.records[ATTACHED].program
    log.commit_again(ATTACHED, program=(*rest, first))
    assert log.wrong() == {ATTACHED: ("damaged", log.commit)}


def test_what_the_store_does_not_give_is_neither_proven_nor_lost(log: Log) -> None:
    log.store.fail("read", StoreRefused("denied", remedy="allow it"), nth=2)
    [one] = [each for each in examine(log.store, log.batch) if each.verdict != PROVEN]
    assert one.verdict == ("unreadable", log.part, "denied", "allow it")
    assert not one.verdict.lost


def test_one_position_is_examined_alone(log: Log) -> None:
    log.alter(log.part, flip(3))
    [one] = examine(log.store, log.batch, SMALL)
    assert one.verdict == PROVEN
    assert one.record == log.records[SMALL]


def test_only_what_is_wanted_is_examined(log: Log) -> None:
    found = list(examine(log.store, log.batch, wanted=lambda record: record.octets > 100_000))
    assert [one.record for one in found] == [log.records[LONG]]


@pytest.mark.parametrize(("batch", "requests"), [(5, 2), (50, 3 + 50)])
def test_small_messages_cost_at_most_a_request_each(batch: int, requests: int) -> None:
    world = World(batch_messages=batch)
    for seed in range(batch):
        world.deliver(messages.small(seed).octets)
    world.session()
    counted = CountedStore(world.store)
    found = list(examine(counted, world.records()[0].batch))
    assert [one.verdict for one in found] == [PROVEN] * batch
    assert counted.requests <= requests


def test_positions_are_those_of_the_records_that_are_wanted(log: Log) -> None:
    assert positions(log.store, log.batch) == [SMALL, ATTACHED, LONG]
    large = positions(log.store, log.batch, lambda record: record.octets > 100_000)
    assert large == [LONG]
    log.alter(log.commit, DAMAGE["an octet less"])
    assert positions(log.store, log.batch) == [None]
    assert positions(log.store, log.batch, lambda _: True) == [None]


def test_an_audit_ends_where_the_store_gives_nothing_any_more() -> None:
    patience, unreadable = Patience(), Verdict("unreadable", "part-1", "it is down", "start it")
    for _ in range(9):
        patience.note(unreadable)
    patience.note(PROVEN)
    for _ in range(9):
        patience.note(unreadable)
    with pytest.raises(StoreUnavailable, match="10 messages in a row could not be") as caught:
        patience.note(unreadable)
    assert caught.value.remedy == "start it"
