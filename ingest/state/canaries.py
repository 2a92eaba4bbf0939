"""The canaries in Redis: which there are, whose turn it is, and which probes are under way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from redis import Redis

from ingest.state.commands import PREFIX, Commands, text

_REMEMBERED_SECONDS: Final = 7 * 86400  # a missing probe, since it may yet come home


class Times(NamedTuple):
    """When probes were last sent and came home, by mailbox id, in seconds since the epoch."""

    sent: Mapping[str, float]
    home: Mapping[str, float]


class CanaryState:
    """What workers share of the canaries. Raises StateError.

    The registry is the truth. A Redis that lost this knows the canaries again with the next `add`,
    and measures no probe that was under way.
    """

    def __init__(self, client: Redis, prefix: str = PREFIX) -> None:
        self._redis = Commands(client, prefix)
        self._hosts = self._redis.key("canaries")  # by mailbox id
        self._sent = self._redis.key("canaries", "sent")  # when, by mailbox id
        self._home = self._redis.key("canaries", "home")  # when, by mailbox id
        self._awaited = self._redis.key("canaries", "awaited")  # probe and mailbox, by when sent
        self._missing = self._redis.key("canaries", "missing")  # likewise

    def now(self) -> float:
        """Redis's clock: seconds since the epoch."""
        return self._redis.now()

    def add(self, hosts: Mapping[str, str]) -> None:
        """These mailboxes are canaries, on those hosts."""
        for mailbox, host in hosts.items():
            self._redis.run("HSET", self._hosts, mailbox, host)

    def drop(self, mailbox: str) -> None:
        """It is none any more, and nothing of it is awaited."""
        for key in (self._awaited, self._missing):
            members = self._redis.run("ZRANGE", key, 0, -1)
            if ours := [each for each in members if _mailbox(each) == mailbox]:
                self._redis.run("ZREM", key, *ours)
        for key in (self._sent, self._home, self._hosts):
            self._redis.run("HDEL", key, mailbox)

    def hosts(self) -> Mapping[str, str]:
        """The provider's host of each canary, by its mailbox id."""
        found = self._redis.run("HGETALL", self._hosts)
        return {text(mailbox): text(host) for mailbox, host in found.items()}

    def idle(self, mailboxes: Iterable[str]) -> Sequence[str]:
        """Those whose turn it is."""
        asked = list(mailboxes)
        turns = self._redis.run("MGET", *map(self._turn, asked)) if asked else []
        return [mailbox for mailbox, turn in zip(asked, turns, strict=True) if not turn]

    def take_turn(self, mailbox: str, seconds: int) -> bool:
        """Take its turn, so that nobody has another one for so long; False: somebody did."""
        return bool(self._redis.run("SET", self._turn(mailbox), 1, "NX", "EX", seconds))

    def postpone(self, mailbox: str, seconds: int) -> None:
        """Its next turn is in so many seconds."""
        self._redis.run("SET", self._turn(mailbox), 1, "EX", seconds)

    def hasten(self, mailbox: str) -> None:
        """Its next turn is now."""
        self._redis.run("DEL", self._turn(mailbox))

    def expect(self, mailbox: str, probe: str, sent_at: float) -> None:
        """The probe is about to be sent."""
        self._redis.run("ZADD", self._awaited, sent_at, _member(mailbox, probe))

    def not_sent(self, mailbox: str, probe: str) -> None:
        """It was not sent after all."""
        self._redis.run("ZREM", self._awaited, _member(mailbox, probe))

    def sent(self, mailbox: str, sent_at: float) -> None:
        """A probe was sent."""
        self._redis.run("HSET", self._sent, mailbox, sent_at)

    def come_home(self, mailbox: str, probe: str, now: float) -> Literal["home", "late", "stray"]:
        """The probe's event is out; true to the first who says so.

        `late`: it was missing. `stray`: nobody waits for it: it came twice, or Redis lost its data.
        """
        member = _member(mailbox, probe)
        awaited = self._redis.run("ZREM", self._awaited, member)
        if not awaited and not self._redis.run("ZREM", self._missing, member):
            return "stray"
        self._redis.run("HSET", self._home, mailbox, now)
        return "home" if awaited else "late"

    def overdue(self, since: float) -> Sequence[str]:
        """The mailboxes of probes sent until then and not home, each told once: missing now."""
        self._redis.run("ZREMRANGEBYSCORE", self._missing, "-inf", since - _REMEMBERED_SECONDS)
        missing: list[str] = []
        for member in self._redis.run("ZRANGEBYSCORE", self._awaited, "-inf", since):
            self._redis.run("ZADD", self._missing, since, member)
            if self._redis.run("ZREM", self._awaited, member):  # else another one was first
                missing.append(_mailbox(member))
        return missing

    def times(self) -> Times:
        """When what happened last."""
        return Times(*(self._times(key) for key in (self._sent, self._home)))

    def awaited(self) -> Mapping[str, int]:
        """How many probes are under way, by mailbox id."""
        found: dict[str, int] = {}
        for member in self._redis.run("ZRANGE", self._awaited, 0, -1):
            found[_mailbox(member)] = found.get(_mailbox(member), 0) + 1
        return found

    def _times(self, key: str) -> Mapping[str, float]:
        found = self._redis.run("HGETALL", key)
        return {text(mailbox): float(when) for mailbox, when in found.items()}

    def _turn(self, mailbox: str) -> str:
        return self._redis.key("canaries", "turn", mailbox)


def _member(mailbox: str, probe: str) -> str:
    return f"{probe} {mailbox}"


def _mailbox(member: bytes) -> str:
    return text(member).partition(" ")[2]
