"""As much of Redis as our code uses, in memory: streams, Lua scripts, and commands by name."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple, TypeAlias

from redis.exceptions import ResponseError

from tests.simulation import lua
from tests.simulation.redis_keys import Answer, Keys

Id: TypeAlias = tuple[int, int]  # of a stream's entry

_WITH_SUBCOMMANDS = {b"XGROUP", b"XINFO"}


class Pending(NamedTuple):
    """An entry that a consumer has read and not acknowledged."""

    consumer: bytes
    delivered_ms: int


@dataclass
class Group:
    """A consumer group."""

    delivered: Id = (0, 0)
    pending: dict[Id, Pending] = field(default_factory=dict)
    consumers: dict[bytes, int] = field(default_factory=dict)  # and when they were last seen, ms


@dataclass
class Stream:
    """Entries by id, which grows, and groups by name."""

    entries: dict[Id, list[bytes]] = field(default_factory=dict)
    last: Id = (0, 0)
    groups: dict[bytes, Group] = field(default_factory=dict)


class RedisServer(Keys):
    """One Redis."""

    def call(self, *command: lua.Value) -> Answer:
        """Run one command."""
        name, *arguments = [one if type(one) is bytes else lua.octets_of(one) for one in command]
        if name in _WITH_SUBCOMMANDS:
            name += b" " + arguments.pop(0)
        return getattr(self, _method(name))(*arguments)

    def evaluate(
        self, source: str, keys: Sequence[lua.Value], arguments: Sequence[lua.Value]
    ) -> Answer:
        """Run a Lua script."""

        def redis_call(*command: lua.Value) -> lua.Value:
            return _to_lua(self.call(*command))

        answer = lua.translated(source)(redis_call)(
            lua.Table.of([lua.octets_of(key) for key in keys]),
            lua.Table.of([lua.octets_of(argument) for argument in arguments]),
        )
        return _from_lua(answer)

    def snapshot(self) -> bytes:
        """All that is kept."""
        return pickle.dumps((self.values, self.ends))

    def restart(self, snapshot: bytes) -> None:
        """Be as at that snapshot."""
        self.run_id += 1
        self.values, self.ends = pickle.loads(snapshot)  # noqa: S301 - made above

    # Streams

    def stream_at(self, key: bytes) -> Stream:
        return self.value(key) or Stream()

    def group_at(self, key: bytes, name: bytes) -> Group:
        found = self.stream_at(key).groups.get(name)
        if found is None:
            raise ResponseError("NOGROUP No such key or consumer group")
        return found

    def xadd(self, key: bytes, wanted: bytes, *fields: bytes) -> Answer:
        stream: Stream = self.values.setdefault(key, Stream())
        new = (int(self.clock() * 1000), 0) if wanted == b"*" else _id(wanted)
        stream.last = new if new > stream.last else (stream.last[0], stream.last[1] + 1)
        stream.entries[stream.last] = list(fields)
        return _named(stream.last)

    def xlen(self, key: bytes) -> int:
        return len(self.stream_at(key).entries)

    def xrange(self, key: bytes, first: bytes, _last: bytes, *count: bytes) -> Answer:
        after = _id(first[1:]) if first[:1] == b"(" else (-1, 0)
        entries = self.stream_at(key).entries
        found = [[_named(entry), fields] for entry, fields in entries.items() if entry > after]
        return found[: int(count[1]) if count else None]

    def xdel(self, key: bytes, entry: bytes) -> int:
        return int(self.stream_at(key).entries.pop(_id(entry), None) is not None)

    def xtrim(self, key: bytes, _minid: bytes, first: bytes) -> int:
        entries = self.stream_at(key).entries
        gone = [entry for entry in entries if entry < _id(first)]
        for entry in gone:
            del entries[entry]
        return len(gone)

    def xgroup_create(self, key: bytes, name: bytes, _start: bytes, *_: bytes) -> Answer:
        groups = self.values.setdefault(key, Stream()).groups
        if name in groups:
            raise ResponseError("BUSYGROUP Consumer Group name already exists")
        groups[name] = Group()
        return b"OK"

    def xgroup_destroy(self, key: bytes, name: bytes) -> int:
        return int(self.stream_at(key).groups.pop(name, None) is not None)

    def xgroup_createconsumer(self, key: bytes, name: bytes, consumer: bytes) -> int:
        self.group_at(key, name).consumers[consumer] = int(self.clock() * 1000)
        return 1

    def xgroup_delconsumer(self, key: bytes, name: bytes, consumer: bytes) -> int:
        group = self.group_at(key, name)
        own = [entry for entry, one in group.pending.items() if one.consumer == consumer]
        for entry in own:
            del group.pending[entry]
        group.consumers.pop(consumer, None)
        return len(own)

    def xreadgroup(self, *arguments: bytes) -> Answer:
        _, name, consumer, _, count, *_, key, start = arguments
        group, entries = self.group_at(key, name), self.stream_at(key).entries
        now = group.consumers[consumer] = int(self.clock() * 1000)
        if start != b">":
            own = [entry for entry, one in group.pending.items() if one.consumer == consumer]
            listed = sorted(own)[: int(count)]
            return [[key, [[_named(entry), entries.get(entry)] for entry in listed]]]
        new = [entry for entry in entries if entry > group.delivered][: int(count)]
        if not new:
            return None
        group.delivered = new[-1]
        group.pending |= {entry: Pending(consumer, now) for entry in new}
        return [[key, [[_named(entry), entries[entry]] for entry in new]]]

    def xack(self, key: bytes, name: bytes, *entries: bytes) -> int:
        group = self.stream_at(key).groups.get(name) or Group()
        return sum(group.pending.pop(_id(entry), None) is not None for entry in entries)

    def xautoclaim(
        self, key: bytes, name: bytes, consumer: bytes, idle: bytes, _start: bytes, *_: bytes
    ) -> Answer:
        group, entries = self.group_at(key, name), self.stream_at(key).entries
        now = group.consumers[consumer] = int(self.clock() * 1000)
        old = sorted(
            entry for entry, one in group.pending.items() if now - one.delivered_ms >= int(idle)
        )
        claimed = [entry for entry in old if entry in entries]
        for entry in old:
            del group.pending[entry]
        group.pending |= {entry: Pending(consumer, now) for entry in claimed}
        return [b"0-0", [[_named(entry), entries[entry]] for entry in claimed], []]

    def xpending(self, key: bytes, name: bytes) -> Answer:
        pending = sorted(self.group_at(key, name).pending)
        if not pending:
            return [0, None, None, None]
        return [len(pending), _named(pending[0]), _named(pending[-1]), []]

    def xinfo_groups(self, key: bytes) -> Answer:
        stream = self.stream_at(key)
        return [
            [
                *(b"name", name, b"consumers", len(group.consumers)),
                *(b"pending", len(group.pending), b"last-delivered-id", _named(group.delivered)),
                *(b"lag", sum(entry > group.delivered for entry in stream.entries)),
            ]
            for name, group in stream.groups.items()
        ]

    def xinfo_consumers(self, key: bytes, name: bytes) -> Answer:
        group, now = self.group_at(key, name), int(self.clock() * 1000)
        return [
            [
                *(b"name", consumer, b"idle", max(0, now - seen), b"pending"),
                sum(one.consumer == consumer for one in group.pending.values()),
            ]
            for consumer, seen in group.consumers.items()
        ]


@cache
def _method(command: bytes) -> str:
    name = command.decode().lower().replace(" ", "_")
    return "del_" if name == "del" else name


def _id(text: bytes) -> Id:
    milliseconds, _, sequence = text.partition(b"-")
    return int(milliseconds), int(sequence or 0)


def _named(entry: Id) -> bytes:
    return b"%d-%d" % entry


def _to_lua(answer: Answer) -> lua.Value:
    if answer is None:
        return False
    if isinstance(answer, list):
        return lua.Table.of([_to_lua(one) for one in answer])
    return answer


def _from_lua(value: lua.Value) -> Answer:
    if isinstance(value, lua.Table):
        return [_from_lua(one) for one in value.items_in_order()]
    if isinstance(value, bool | None):
        return 1 if value else None
    return int(value) if isinstance(value, float) else value
