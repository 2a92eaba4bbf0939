"""Which batches no scheduled audit has had the chance to look at."""

from __future__ import annotations

import random
from typing import NamedTuple

from redis import Redis

from ingest.state.commands import PREFIX, Commands, text


class Unaudited(NamedTuple):
    """What was committed since the last audit."""

    batches: list[str]  # at random
    until: int  # committed until then, by Redis's clock


class Audits:
    """How far the audits are. Raises StateError.

    The ledger remembers for half a day which batches it took in, so one whose commit object is
    gone from the store is among them.
    """

    def __init__(self, client: Redis, prefix: str = PREFIX) -> None:
        self._redis = Commands(client, prefix)
        self._key, self._batches = self._redis.key("audited"), self._redis.key("batches")

    def unaudited(self, count: int, chance: random.Random) -> Unaudited:
        """At most so many batches at random, of those taken in since the last audit."""
        until = int(self._redis.now()) - 1  # no more are dated so
        after = self._redis.run("GET", self._key)
        span = (f"({text(after)}" if after else "-inf", until)
        number = int(self._redis.run("ZCOUNT", self._batches, *span))
        batches: list[str] = []
        for rank in chance.sample(range(number), min(number, count)):
            found = self._redis.run("ZRANGEBYSCORE", self._batches, *span, "LIMIT", rank, 1)
            batches += map(text, found)  # none where it was forgotten just now
        return Unaudited(batches, until)

    def done(self, until: int) -> None:
        """What was committed until then had its chance."""
        self._redis.run("SET", self._key, until)
