"""Strings, hashes and sorted sets of the Redis in memory.

Answers are what RESP2 carries: bytes, int, None, and lists of these.
"""

from __future__ import annotations

import fnmatch
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

Answer: TypeAlias = Any  # bytes, int, None, or a list of answers


class SortedSet(dict[bytes, float]):
    """Members with scores."""

    def ordered(self) -> list[tuple[float, bytes]]:
        return sorted((score, member) for member, score in self.items())

    def between(self, low: bytes, high: bytes) -> list[tuple[float, bytes]]:
        """By scores; `(` before one leaves it out itself."""
        ordered = self.ordered()
        scores = [score for score, _ in ordered]
        first = (bisect_right if low[:1] == b"(" else bisect_left)(scores, _number(low))
        last = (bisect_left if high[:1] == b"(" else bisect_right)(scores, _number(high))
        return ordered[first:last]


class Keys:
    """Each command is a method of its name. `clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.values: dict[bytes, Any] = {}
        self.ends: dict[bytes, float] = {}  # of keys that expire
        self.run_id = 0  # another one after every restart

    def value(self, key: bytes) -> Any:  # noqa: ANN401 - any kind of value
        if key in self.ends and self.ends[key] <= self.clock():
            self.forget(key)
        return self.values.get(key)

    def forget(self, key: bytes) -> int:
        self.ends.pop(key, None)
        return int(self.values.pop(key, None) is not None)

    def less(self, key: bytes, names: Sequence[bytes]) -> int:
        """Remove members; a key without any is none."""
        kept = self.value(key)
        if kept is None:
            return 0
        gone = sum(kept.pop(name, None) is not None for name in names)
        if not kept:
            self.forget(key)
        return gone

    def hash_at(self, key: bytes) -> dict[bytes, bytes]:
        return self.value(key) or {}

    def set_at(self, key: bytes) -> SortedSet:
        return self.value(key) or SortedSet()

    # Any key

    def time(self) -> Answer:
        now = self.clock()
        return [b"%d" % now, b"%d" % (now % 1 * 1_000_000)]

    def info(self, _section: bytes) -> Answer:
        return b"run_id:%d" % self.run_id

    def flushall(self) -> Answer:
        self.values, self.ends = {}, {}
        return b"OK"

    def keys(self, pattern: bytes) -> Answer:
        return [key for key in self.values if fnmatch.fnmatch(key, pattern)]

    def scan(self, *_: bytes) -> Answer:
        return [b"0", [key for key in list(self.values) if self.exists(key)]]

    def exists(self, key: bytes) -> int:
        return int(self.value(key) is not None)

    def del_(self, *keys: bytes) -> int:
        return sum(map(self.forget, keys))

    unlink = del_

    def expire(self, key: bytes, seconds: bytes) -> int:
        if self.value(key) is None:
            return 0
        self.ends[key] = self.clock() + int(seconds)
        return 1

    # Strings

    def get(self, key: bytes) -> Answer:
        return self.value(key)

    def set(self, key: bytes, value: bytes, *options: bytes) -> Answer:
        if b"NX" in options and self.value(key) is not None:
            return None
        self.forget(key)
        self.values[key] = value
        if b"EX" in options:
            self.expire(key, options[options.index(b"EX") + 1])
        return b"OK"

    def incr(self, key: bytes) -> int:
        counted = int(self.value(key) or 0) + 1
        self.values[key] = b"%d" % counted
        return counted

    # Hashes

    def hget(self, key: bytes, name: bytes) -> Answer:
        return self.hash_at(key).get(name)

    def hgetall(self, key: bytes) -> Answer:
        return [octets for pair in self.hash_at(key).items() for octets in pair]

    def hmget(self, key: bytes, *names: bytes) -> Answer:
        kept = self.hash_at(key)
        return [kept.get(name) for name in names]

    def hexists(self, key: bytes, name: bytes) -> int:
        return int(name in self.hash_at(key))

    def hset(self, key: bytes, *pairs: bytes) -> int:
        kept: dict[bytes, bytes] = self.values.setdefault(key, {})
        before = len(kept)
        kept.update(zip(pairs[::2], pairs[1::2], strict=True))
        return len(kept) - before

    def hdel(self, key: bytes, *names: bytes) -> int:
        return self.less(key, names)

    def hincrby(self, key: bytes, name: bytes, by: bytes) -> int:
        counted = int(self.hash_at(key).get(name, 0)) + int(by)
        self.hset(key, name, b"%d" % counted)
        return counted

    def hscan(self, key: bytes, *_: bytes) -> Answer:
        return [b"0", self.hgetall(key)]

    # Sorted sets

    def zadd(self, key: bytes, *arguments: bytes) -> int:
        only_new = arguments[0] == b"NX"
        kept: SortedSet = self.values.setdefault(key, SortedSet())
        before = len(kept)
        given = arguments[only_new:]
        for score, member in zip(given[::2], given[1::2], strict=True):
            if not only_new or member not in kept:
                kept[member] = float(score)
        return len(kept) - before

    def zincrby(self, key: bytes, by: bytes, member: bytes) -> Answer:
        score = self.set_at(key).get(member, 0.0) + float(by)
        self.zadd(key, b"%.17g" % score, member)
        return _said(score)

    def zrem(self, key: bytes, *members: bytes) -> int:
        return self.less(key, members)

    def zcard(self, key: bytes) -> int:
        return len(self.set_at(key))

    def zscore(self, key: bytes, member: bytes) -> Answer:
        return _said(self.set_at(key).get(member))

    def zmscore(self, key: bytes, *members: bytes) -> Answer:
        kept = self.set_at(key)
        return [_said(kept.get(member)) for member in members]

    def zcount(self, key: bytes, low: bytes, high: bytes) -> int:
        return len(self.set_at(key).between(low, high))

    def zrange(self, key: bytes, first: bytes, last: bytes, *options: bytes) -> Answer:
        stop = None if last == b"-1" else int(last) + 1
        return list(_listed(self.set_at(key).ordered()[int(first) : stop], options))

    def zrangebyscore(self, key: bytes, low: bytes, high: bytes, *options: bytes) -> Answer:
        found = self.set_at(key).between(low, high)
        if b"LIMIT" in options:
            at = options.index(b"LIMIT")
            skip, count = int(options[at + 1]), int(options[at + 2])
            found = found[skip : skip + count]
        return list(_listed(found, options))

    def zremrangebyscore(self, key: bytes, low: bytes, high: bytes) -> int:
        return self.less(key, [member for _, member in self.set_at(key).between(low, high)])


def _number(bound: bytes) -> float:
    return float(bound.removeprefix(b"("))


def _said(score: float | None) -> bytes | None:
    return None if score is None else b"%.17g" % score


def _listed(found: Sequence[tuple[float, bytes]], options: Sequence[bytes]) -> Iterator[Answer]:
    for score, member in found:
        yield member
        if b"WITHSCORES" in options:
            yield _said(score)
