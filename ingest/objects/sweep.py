"""Remove what dead workers left: batches that were never committed, and unfinished uploads.

A worker never commits a batch older than six hours, so one without a commit object whose youngest
part is a week old, by the store's clock, never will be.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import groupby
from typing import NamedTuple

from ingest.errors import ObjectMissing
from ingest.failpoints import reach
from ingest.intake.ports import ObjectStore, StoredObject
from ingest.objects import keys

OLD_ENOUGH = timedelta(days=7)


class Swept(NamedTuple):
    """What one call did."""

    batches: int  # removed
    objects: int  # removed
    uploads: int  # aborted
    after: str  # where the next call goes on; "" when the end was reached
    settled: str  # up to here nothing will ever be removed any more


def sweep(
    store: ObjectStore, after: str = "", *, objects: int = 50_000, age: timedelta = OLD_ENOUGH
) -> Swept:
    """Look through the log from `after` on, oldest batches first.

    Stops after so many objects, at the end of a batch; it can be called again at any time, and
    from any place. A batch with a commit object is never touched.

    Args:
        store: the store.
        after: the `after` of the call before; "" begins at the oldest batch.
        objects: about how many are looked at.
        age: of the youngest object of a batch that is removed.

    Raises:
        StoreError: the store failed; what was removed before stays removed.
    """
    before = store.now() - age
    uploads = store.abort_uploads(before)
    seen = batches = removed = 0
    settled, undecided = after, False
    for batch, found in _batches(store, after):
        if keys.begun(batch) > before:
            break
        if seen >= objects:
            return Swept(batches, removed, uploads, after, settled)
        seen += len(found)
        after = found[-1].key
        if not _is_listed_as_committed(batch, found):
            if any(part.modified >= before for part in found):
                undecided = True
            elif not _is_committed(store, batch):
                store.delete([part.key for part in found])
                reach("batch-swept")
                batches += 1
                removed += len(found)
        if not undecided:
            settled = after
    return Swept(batches, removed, uploads, "", settled)


def _batches(store: ObjectStore, after: str) -> Iterator[tuple[str, list[StoredObject]]]:
    """The objects of each batch. An object that belongs to none is not ours to judge."""

    def batch_of(found: StoredObject) -> str:
        parsed = keys.parse(found.key)
        return parsed.batch if parsed else ""

    for batch, found in groupby(store.list(keys.MAIL, after), batch_of):
        if batch:
            yield batch, list(found)


def _is_listed_as_committed(batch: str, found: list[StoredObject]) -> bool:
    commit = keys.commit(batch)
    return any(member.key == commit for member in found)


def _is_committed(store: ObjectStore, batch: str) -> bool:
    """Whether there is a commit object: asked for, since a listing may lag behind."""
    try:
        store.size(keys.commit(batch))
    except ObjectMissing:
        return False
    return True
