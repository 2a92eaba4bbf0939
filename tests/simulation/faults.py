"""Which faults a seed has, how often they strike, and which of them did."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias, get_args

Kind: TypeAlias = Literal[
    # processes
    "killed",
    "paused",
    "suspended",
    "suspended for days",
    "told to stop",
    "clock set wrong",
    "time passes",
    # the network to a POP3 server
    "connection refused",
    "cut before a command",
    "cut in a body",
    "cut after QUIT was obeyed",
    "cut before QUIT was obeyed",
    "half-open",
    "silent",
    # POP3 servers
    "busy",
    "sign-in refused",
    "RETR refused",
    "TOP refused",
    "DELE refused",
    "QUIT refused",
    "message cut short",
    "delete ignored",
    # the object store
    "store failed before",
    "store failed after",
    # Redis
    "Redis failed before",
    "Redis failed after",
    "Redis command sent twice",
    "Redis wiped",
    "Redis rolled back",
    "Redis clock stepped",
    "brake pulled",
    # hints and events
    "hint lost",
    "hint doubled",
    "sink refused",
    "sink answer lost",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

# What happens by itself, where the seed makes a server or a message so.
Habit: TypeAlias = Literal[
    "maildrop in use",
    "sizes lied about",
    "unique-ids reused",
    "unique-ids renumbered",
    "unique-id missing",
    "unique-id doubled",
    "retrieved hidden",
    "parser broken",
    "parser killed",
    "same octets again",
]
HABITS: tuple[Habit, ...] = get_args(Habit)

# Struck at any step, and so many of a hundred are of this kind where all are there.
_ANYWHERE: Mapping[Kind, int] = {
    "killed": 20,
    "paused": 12,
    "suspended": 8,
    "suspended for days": 2,
    "told to stop": 8,
    "clock set wrong": 8,
    "time passes": 20,
    "Redis wiped": 5,
    "Redis rolled back": 9,
    "Redis clock stepped": 8,
    "brake pulled": 5,
}
_RATES_ANYWHERE = (0.003, 0.01, 0.03)
# Between the commit and the end of a session, and in a read-back, where order matters most, it
# strikes more often.
_DELICATE = re.compile("put|commit|DELE|QUIT|settle|release|XACK|register|extend|finish")
_DELICATE_FACTOR = 10
# Of the others, whenever they could strike: some could at every turn, some once in a session.
_AT_EVERY_TURN: frozenset[Kind] = frozenset(
    {
        "cut before a command",
        "silent",
        "store failed before",
        "store failed after",
        "Redis failed before",
        "Redis failed after",
        "Redis command sent twice",
    }
)
_RATES_AT_EVERY_TURN = (0.01, 0.04, 0.12)
_RATES = (0.1, 0.3, 0.6)

_LIKELIHOOD = 0.3  # that a seed has a kind at all: few at a time go deeper than all at once
_LIKELIER: frozenset[Kind] = frozenset({"TOP refused", "message cut short"})  # there is seldom room


class Faults:
    """The faults of one seed. None strikes before `begin`."""

    def __init__(self, chance: random.Random) -> None:
        self.struck: Counter[Kind | Habit] = Counter()
        self._chance = chance
        self._kinds = [
            kind for kind in KINDS if chance.random() < _LIKELIHOOD * (1 + (kind in _LIKELIER))
        ]
        self._rates: dict[Kind, float] = {}
        self._anywhere = [kind for kind in self._kinds if kind in _ANYWHERE]
        self._weights = [_ANYWHERE[kind] for kind in self._anywhere]
        self._rate_anywhere = 0.0

    def has(self, kinds: Iterable[Kind]) -> bool:
        """Whether the seed has one of these."""
        return any(kind in self._kinds for kind in kinds)

    def begin(self) -> None:
        """From now on things go wrong."""
        for kind in self._kinds:
            if kind not in _ANYWHERE:
                often = kind in _AT_EVERY_TURN
                self._rates[kind] = self._chance.choice(_RATES_AT_EVERY_TURN if often else _RATES)
        if self._anywhere:
            self._rate_anywhere = self._chance.choice(_RATES_ANYWHERE)

    def cease(self) -> None:
        """From now on nothing goes wrong."""
        self._rates, self._rate_anywhere = {}, 0.0

    def strikes(self, kind: Kind) -> bool:
        """Whether it does, now that it could."""
        rate = self._rates.get(kind)
        if rate is None or self._chance.random() >= rate:
            return False
        self.struck[kind] += 1
        return True

    def anywhere(self, step: str) -> Kind | None:
        """What strikes at this step."""
        if not self._rate_anywhere:
            return None
        rate = self._rate_anywhere * (_DELICATE_FACTOR if _DELICATE.search(step) else 1)
        if self._chance.random() >= rate:
            return None
        return self._chance.choices(self._anywhere, self._weights)[0]
