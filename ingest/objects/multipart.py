"""Write one object of unknown size to S3 with at most two blocks of memory.

An object that fits one block is a single PUT. A larger one is a multipart upload: one block is
filled while the one before it is on its way. There is at most one request at a time per object.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Self

from ingest.errors import StoreError, StoreRefused
from ingest.failpoints import reach
from ingest.model import Octets
from ingest.objects.bucket import Bucket
from ingest.objects.budget import BLOCK, Budget

MAX_PARTS = 10_000  # of an upload, by S3's limits
_PARTS_PER_SIZE = 1_000  # after so many parts blocks double, if there is budget: 5 TiB at the end


class MultipartWriter:
    """One object being written. Leaving the block without `commit()` aborts it.

    It holds one block from the beginning and takes a second one only if that is free at once: so
    it never waits for a buffer while it holds one. Its thread may, for another writer.

    Args:
        bucket: where to.
        name: the object's key, and the key with the store's prefix.
        content_type: of the object.
        budget: what its buffers count against.
        executor: where its requests run.
        open_writers: those that this thread has open.
        stop: says at a shutdown that waiting for a buffer is over.
    """

    def __init__(
        self,
        *,
        bucket: Bucket,
        name: tuple[str, str],
        content_type: str,
        budget: Budget,
        executor: ThreadPoolExecutor,
        open_writers: set[MultipartWriter],
        stop: Callable[[], bool],
    ) -> None:
        self._bucket = bucket
        self._key, self._whole_key = name
        self._content_type = content_type
        self._share = budget.share(nested=bool(open_writers))
        self._executor = executor
        self._upload: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._octets = 0  # in parts
        self._sending: tuple[Future[None], bytearray] | None = None
        self._committed = False
        self._abandoned = False
        self._block = self._share.acquire_block(stop)
        self._filled = 0
        self._open_writers = open_writers
        open_writers.add(self)

    @property
    def key(self) -> str:
        return self._key

    def write(self, octets: Octets) -> None:
        view = memoryview(octets)
        while view:
            if self._filled == len(self._block):
                self._send()
            taken = min(len(self._block) - self._filled, len(view))
            self._block[self._filled : self._filled + taken] = view[:taken]
            self._filled += taken
            view = view[taken:]

    def _send(self) -> None:
        """Let the full block go and find another to fill."""
        spare = self._sent()
        wanted = BLOCK << (len(self._parts) // _PARTS_PER_SIZE)
        if len(self._parts) == MAX_PARTS - 1:
            if spare is not None:
                self._share.release_block(spare)
            raise StoreRefused(
                f"{self._key} is too large for one upload within this buffer budget",
                remedy="raise INGEST_BUFFER_OCTETS",
            )
        block, filled = self._block, self._filled
        self._block, self._filled = bytearray(), 0
        sending = self._executor.submit(self._upload_part, block, filled)
        self._sending = (sending, block)
        larger = self._share.try_block(wanted) if spare is None or len(spare) < wanted else None
        if larger is not None and spare is not None:
            self._share.release_block(spare)
        if larger is None and spare is None:
            sending.result()
            self._sending, spare = None, block
        self._block = larger or spare or block

    def _sent(self) -> bytearray | None:
        """Wait for the block on its way, which is then free to be filled again."""
        if self._sending is None:
            return None
        sending, block = self._sending
        sending.result()
        self._sending = None
        return block

    def _upload_part(self, block: bytearray, filled: int) -> None:
        if self._upload is None:
            self._upload = self._bucket.begin(
                self._whole_key, self._content_type, lambda: self._abandoned
            )
        with memoryview(block)[:filled] as body:
            part = self._bucket.upload_part(
                self._whole_key,
                self._upload,
                len(self._parts) + 1,
                body,
                lambda: self._abandoned,
            )
        reach("part-block-uploaded")
        self._parts.append(part)
        self._octets += filled

    def commit(self) -> Future[None]:
        if self._parts or self._sending is not None:
            future = self._executor.submit(self._complete)
        elif self._filled <= BLOCK // 2:
            # A copy lets the block go: many small objects may wait to be written.
            body = bytes(memoryview(self._block)[: self._filled])
            future = self._executor.submit(self._put_small, body)
            self._share.release_block(self._block, keep=len(body))
        else:
            future = self._executor.submit(self._put_block)
        self._committed = True
        self._open_writers.discard(self)
        return future

    def _put_small(self, body: bytes) -> None:
        try:
            self._bucket.put(self._whole_key, body, self._content_type)
        finally:
            self._share.release(len(body))

    def _put_block(self) -> None:
        try:
            with memoryview(self._block)[: self._filled] as body:
                self._bucket.put(self._whole_key, body, self._content_type)
        finally:
            self._release()

    def _complete(self) -> None:
        try:
            # The block before was submitted first, so it has a thread already.
            spare = self._sent()
            if spare is not None:
                self._share.release_block(spare)
            self._upload_part(self._block, self._filled)
            if self._upload is not None:
                self._bucket.complete(self._whole_key, self._upload, self._parts, self._octets)
                reach("part-completed")
        except BaseException:
            self._abort()
            raise
        finally:
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open_writers.discard(self)
        if not self._committed:
            self._abandoned = True
            if self._sending is not None:
                self._sending[0].exception()
            self._abort()
            self._release()

    def _abort(self) -> None:
        if self._upload is not None:
            with suppress(StoreError):  # swept later
                self._bucket.abort(self._whole_key, self._upload)

    def _release(self) -> None:
        """Give back what is held, also after a failure."""
        if self._sending is not None:
            self._share.release_block(self._sending[1])
            self._sending = None
        self._share.release_block(self._block)
