"""A message's skeleton: all of its octets that are in no part."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack

from ingest.intake.batch import Batch
from ingest.intake.ports import PartWriter
from ingest.model import Octets, Skeleton

# Up to here it goes into the commit object, which is made in memory.
_MOST_OCTETS = 256 * 1024


class SkeletonWriter:
    """Writes one skeleton: to memory while it is small, to an object of its own when it is large.

    Args:
        batch: where the object goes.
        writers: aborts the object where the message is given up.
    """

    def __init__(self, batch: Batch, writers: ExitStack) -> None:
        self._batch = batch
        self._writers = writers
        self._octets = bytearray()
        self._size = 0
        self._sha256 = hashlib.sha256()  # of what the writer was given
        self._writer: PartWriter | None = None

    def write(self, octets: Octets) -> None:
        """Append.

        Raises:
            StoreError: the object could not be written.
        """
        self._size += len(octets)
        if self._writer is not None:
            self._sha256.update(octets)
            self._writer.write(octets)
            return
        self._octets += octets
        if len(self._octets) > _MOST_OCTETS:
            self._sha256.update(self._octets)
            self._writer = self._writers.enter_context(self._batch.create_part())
            self._writer.write(self._octets)
            self._octets = bytearray()

    def commit(self, message_octets: int, message_sha256: str) -> tuple[Skeleton, bytes | None]:
        """Where the skeleton is, and its octets if they belong into the commit object.

        The skeleton of a message without extracted parts is the message: its hash is known.
        """
        if self._writer is None:
            octets = bytes(self._octets)
            whole = self._size == message_octets
            sha256 = message_sha256 if whole else hashlib.sha256(octets).hexdigest()
            return Skeleton(self._size, sha256), octets
        self._batch.await_part(self._writer.commit())
        return Skeleton(self._size, self._sha256.hexdigest(), self._writer.key), None
