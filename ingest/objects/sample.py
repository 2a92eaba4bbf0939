"""Messages at random, out of a log that is too long to be listed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from ulid import ULID

from ingest.intake.ports import ObjectStore
from ingest.objects import keys

_PAGE = 1_000  # objects that one LIST gives
_NEAR = 32  # batches after a number, one of which is taken: not always that after a pause

Chance = random.Random


def pick(
    batches: Iterable[str],
    positions: Callable[[str], Sequence[int | None]],
    count: int,
    chance: Chance,
) -> Iterator[tuple[str, int | None]]:
    """Batches and positions in them, no two the same: one of each batch, then more of them.

    Args:
        batches: at random; one may come several times.
        positions: of a batch's records that may be picked (see `audit.positions`).
        count: at most so many are picked; fewer where there are not so many.
        chance: what decides.
    """
    left: dict[str, list[int | None]] = {}
    for batch in batches:
        if batch not in left:
            found = positions(batch)
            left[batch] = chance.sample(found, min(len(found), count))
        if left[batch]:
            yield batch, left[batch].pop()
            count -= 1
            if not count:
                return
    rest = [(batch, position) for batch, found in left.items() for position in found]
    yield from chance.sample(rest, min(len(rest), count))


def random_batches(
    store: ObjectStore, begin: datetime | None, draws: int, chance: Chance
) -> Iterator[str]:
    """Committed batches at random, spread over the time since then; one may come several times.

    A batch's id is a number that grows with time. A number is drawn, and a batch taken from those
    after it: one LIST, however long the log is. What a draw shows to be empty is not drawn from
    again, so that a silence does not lead to the same batches over and over. Where all of the log
    is one page, each batch comes once.

    Args:
        store: where the log is.
        begin: of the oldest batch that may come; None: any may.
        draws: that many at most; each is one request.
        chance: what decides.

    Raises:
        StoreError: the log can't be listed.
    """
    start = 0 if begin is None else int(ULID.from_datetime(begin))
    page = _read(store, start)
    if page.is_last:
        yield from chance.sample(page.batches, len(page.batches))
        return
    left = [(page.begin, int(ULID.from_datetime(store.now())))]  # may be drawn
    for _ in range(draws):
        left = [(low, high) for low, high in left if low < high]
        if not left:
            return
        low, high = chance.choices(left, [high - low for low, high in left])[0]
        drawn = chance.randrange(low, high)
        page = _read(store, drawn)
        if page.batches:
            yield chance.choice(page.batches[:_NEAR])
        left.remove((low, high))
        left += [(low, drawn), (high if page.is_empty else page.begin, high)]


class _Page(NamedTuple):
    """What one LIST gives of the log."""

    batches: list[str]  # that are committed
    begin: int  # no batch between the id that was asked for and this one is committed
    is_last: bool

    @property
    def is_empty(self) -> bool:
        return self.is_last and not self.batches


def _read(store: ObjectStore, number: int) -> _Page:
    """The page of the log after that id."""
    after = keys.batch_prefix(str(ULID.from_int(number)))
    listed = [stored.key for stored in islice(store.list(keys.MAIL, after), _PAGE)]
    parsed = [found for key in listed if (found := keys.parse(key))]
    batches = [found.batch for found in parsed if found.name == "commit.zip"]
    begin = number
    if batches:
        begin = _number(batches[0])
    elif parsed:
        begin = _number(parsed[-1].batch) + 1
    return _Page(batches, begin, len(listed) < _PAGE)


def _number(batch: str) -> int:
    return int(ULID.from_str(batch))
