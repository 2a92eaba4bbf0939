"""The object store in a bucket of anything that speaks S3."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from ulid import ULID

from ingest.errors import StoreError, StoreRefused, StoreUnavailable
from ingest.intake.ports import StoredObject
from ingest.objects import keys
from ingest.objects.bucket import Bucket, crc32
from ingest.objects.budget import Budget
from ingest.objects.multipart import MultipartWriter
from ingest.objects.probe import Probe, attempt
from ingest.objects.s3_errors import BOTO_ERRORS, code_of

_READ_BLOCK = 256 * 1024
_BREAKS = 5  # of an answer without one octet of progress between them
_PAGE = 1_000  # keys in one listing, by S3's limits


class S3Store:
    """Objects in one bucket below a prefix.

    Args:
        bucket: where.
        prefix: what all keys begin with; "" or words joined by `/`.
        budget: what upload buffers count against.
        workers: threads that write.
        stop: says at a shutdown that waiting is over.
    """

    def __init__(
        self,
        bucket: Bucket,
        prefix: str,
        budget: Budget,
        *,
        workers: int,
        stop: Callable[[], bool],
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{keys.check(prefix)}/" if prefix else ""
        self._budget = budget
        self._stop = stop
        self._of_thread = threading.local()
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="store")

    def _whole(self, key: str) -> str:
        return self._prefix + keys.check(key)

    def create(self, key: str, content_type: str = "application/octet-stream") -> MultipartWriter:
        return MultipartWriter(
            bucket=self._bucket,
            name=(key, self._whole(key)),
            content_type=content_type,
            budget=self._budget,
            executor=self._executor,
            open_writers=self._open_writers(),
            stop=self._stop,
        )

    def _open_writers(self) -> set[MultipartWriter]:
        """Those of this thread."""
        if not hasattr(self._of_thread, "open_writers"):
            self._of_thread.open_writers = set()
        found: set[MultipartWriter] = self._of_thread.open_writers
        return found

    def put(self, key: str, octets: bytes) -> None:
        self._bucket.put(self._whole(key), octets, "application/octet-stream")

    def read(self, key: str, start: int = 0, octets: int | None = None) -> Iterator[bytes]:
        """As the protocol says; a broken answer is taken up again where it broke."""
        if octets == 0:
            self.size(key)
            return
        at, end, breaks = start, None if octets is None else start + octets, 0
        condition: dict[str, Any] = {}  # it must still be the same object
        while end is None or at < end:
            answer = self._open(key, at, end, condition)
            if answer is None:
                return
            condition = {"IfMatch": answer["ETag"]}
            try:
                with closing(answer["Body"]) as body:
                    while block := body.read(_READ_BLOCK):
                        at += len(block)
                        breaks = 0
                        yield block
            except BOTO_ERRORS as error:
                breaks += 1
                if breaks == _BREAKS:
                    raise StoreUnavailable(
                        f"can't read {key}: the answer broke {breaks} times at octet {at}",
                        remedy="look at the store, or at a proxy before it",
                    ) from error
            else:
                return

    def _open(
        self, key: str, at: int, end: int | None, condition: dict[str, Any]
    ) -> dict[str, Any] | None:
        """The answer to GET of a range; None where the object has no octet there."""
        if at or end is not None:
            condition = {**condition, "Range": f"bytes={at}-{'' if end is None else end - 1}"}
        try:
            return self._bucket.request(
                "get_object", f"read {key}", Key=self._whole(key), **condition
            )
        except StoreRefused as error:
            if code_of(error) in {"InvalidRange", "416"}:
                return None
            raise

    def size(self, key: str) -> int:
        answer = self._bucket.request("head_object", f"look at {key}", Key=self._whole(key))
        return int(answer["ContentLength"])

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        begin = self._prefix + after if after else ""
        while True:
            answer = self._bucket.request(
                "list_objects_v2",
                f"list {prefix or 'objects'}",
                Prefix=self._prefix + prefix,
                StartAfter=begin,
                MaxKeys=_PAGE,
            )
            found = answer.get("Contents", [])
            for item in found:
                key = item["Key"].removeprefix(self._prefix)
                yield StoredObject(key, item["Size"], item["LastModified"].astimezone(UTC))
            if not answer.get("IsTruncated") or not found:
                return
            begin = found[-1]["Key"]

    def delete(self, keys: Collection[str]) -> None:
        # One by one: not every store has DeleteObjects, or takes it with today's checksums.
        for _ in self._executor.map(self._delete, keys):
            pass

    def _delete(self, key: str) -> None:
        self._bucket.request("delete_object", f"delete {key}", Key=self._whole(key))

    def abort_uploads(self, before: datetime) -> int:
        aborted = 0
        markers: dict[str, Any] = {}
        while True:
            answer = self._bucket.request(
                "list_multipart_uploads", "list uploads", Prefix=self._prefix, **markers
            )
            for upload in answer.get("Uploads", []):
                if upload["Initiated"] < before:
                    self._bucket.abort(upload["Key"], upload["UploadId"], patient=True)
                    aborted += 1
            if not answer.get("IsTruncated"):
                return aborted
            markers = {
                "KeyMarker": answer["NextKeyMarker"],
                "UploadIdMarker": answer["NextUploadIdMarker"],
            }

    def now(self) -> datetime:
        return self._bucket.now()

    def uri(self, key: str) -> str:
        return f"s3://{self._bucket.name}/{self._whole(key)}"

    def probe(self) -> Probe:
        """As the protocol says; checksums go out from then on only if the store takes them."""
        key = f"probe-{ULID()}"
        whole = self._whole(key)
        steps = attempt(
            {
                "write": lambda: self._probe_write(key),
                "read": lambda: b"".join(self.read(key, 0, 5)),
                "list": lambda: list(self.list(key)),
                "multipart": lambda: self._probe_multipart(whole),
                "uploads": lambda: self._bucket.request(
                    "list_multipart_uploads", "list uploads", Prefix=whole
                ),
                "delete": lambda: self.delete([key]),
                "clock": self.now,
            }
        )
        checksums = None if steps["write"] else self._refuses_damage(key)
        told = "clock" in steps and steps["clock"] is None
        ahead = (self.now() - datetime.now(UTC)).total_seconds() if told else 0.0
        return Probe(steps, checksums, ahead)

    def _probe_write(self, key: str) -> None:
        self._bucket.checksums = True
        try:
            self.put(key, b"probe")
        except StoreRefused:
            self._bucket.checksums = False
            self.put(key, b"probe")

    def _probe_multipart(self, whole: str) -> None:
        for finish in (self._bucket.abort, self._finish):
            upload = self._bucket.begin(whole, "text/plain", self._stop)
            finish(whole, upload)

    def _finish(self, whole: str, upload: str) -> None:
        part = self._bucket.upload_part(whole, upload, 1, b"probe", self._stop)
        self._bucket.complete(whole, upload, [part], len(b"probe"))

    def _refuses_damage(self, key: str) -> bool:
        if not self._bucket.checksums:
            return False
        try:
            self._bucket.request(
                "put_object",
                f"write {key}",
                patient=False,
                Key=self._whole(key),
                Body=b"probe",
                ChecksumCRC32=crc32(b"other"),
            )
        except StoreError as error:
            return bool(code_of(error))  # an answer, not a broken connection
        attempt({"delete": lambda: self.delete([key])})
        return False

    def close(self) -> None:
        self._executor.shutdown()
        self._bucket.close()
