"""One S3 bucket: the client, and the loop that repeats a request until its deadline.

botocore's own retries are off: they know no deadline and don't end at a shutdown.
"""

from __future__ import annotations

import base64
import random
import re
import time
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ingest.errors import SettingsError, StoreError, StoreUnavailable
from ingest.model import Octets
from ingest.objects.options import S3Options
from ingest.objects.s3_errors import BOTO_ERRORS, code_of, explain

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between attempts, doubling, with jitter
_SLICE = 0.25  # seconds between two looks at stop()
_CLOCK_AGE = 600.0  # seconds for which an answer's Date header tells the time
_SET_BACK = 60.0  # seconds by which an earlier Date is a clock that was set back
_CONTENT_TYPE = re.compile(r"[\w!#$&^.+-]{1,64}/[\w!#$&^.+-]{1,128}", re.ASCII)  # RFC 6838 4.2

# What is in every answer of a store. A proxy in between may say 200 to what it did not pass on.
_ALWAYS_SAID = {
    "put_object": "ETag",
    "create_multipart_upload": "UploadId",
    "upload_part": "ETag",
    "complete_multipart_upload": "ETag",
    "get_object": "ETag",
    "head_object": "ETag",
    "list_objects_v2": "IsTruncated",
}


def _client(options: S3Options) -> S3Client:
    config = Config(
        connect_timeout=10,
        read_timeout=30,
        max_pool_connections=options.connections,
        parameter_validation=False,  # it knows no memoryview, and we pass no foreign values
        request_checksum_calculation="when_required",  # ours go with each body, see `_checksum`
        response_checksum_validation="when_required",
        retries={"total_max_attempts": 1},
        s3={"addressing_style": "path" if options.path_style else "auto"},
        tcp_keepalive=True,
    )
    session = boto3.session.Session()
    region = options.region or session.region_name or ("us-east-1" if options.endpoint else None)
    return session.client(
        "s3", endpoint_url=options.endpoint or None, region_name=region, config=config
    )


class Bucket:
    """Requests to one bucket. Every method raises StoreError; `key` is the object's whole key.

    Args:
        name: the bucket's name.
        options: how it is reached.
        stop: says at a shutdown that nothing is to be repeated any more.
    """

    def __init__(self, name: str, options: S3Options, stop: Callable[[], bool]) -> None:
        self.name = name
        self.checksums = True
        self._options = options
        self._stop = stop
        try:
            self._client = _client(options)
        except ValueError as error:
            raise SettingsError(
                "the S3 store can't be addressed: its endpoint is no URL, or its region no region",
                remedy="correct INGEST_S3_ENDPOINT and INGEST_S3_REGION",
            ) from error
        except BotoCoreError as error:
            raise explain(error, "reach the store", name, options.endpoint) from error
        self._host = urlsplit(self._client.meta.endpoint_url).netloc.rpartition("@")[2]
        # The Date of an answer, by the store's clock, and when it came, monotonic.
        self._told: tuple[datetime, float] | None = None

    def request(
        self,
        operation: str,
        what: str,
        *,
        patient: bool = True,
        stop: Callable[[], bool] | None = None,
        **parameters: Any,  # noqa: ANN401 - as of boto3
    ) -> dict[str, Any]:
        """One request, repeated while the store is unavailable, until the deadline.

        Args:
            operation: the boto3 client's method.
            what: names the operation in an error.
            patient: False: only one attempt.
            stop: says that nobody waits for the answer any more.
            parameters: of the method.
        """
        deadline = time.monotonic() + (self._options.deadline if patient else 0.0)
        pause = _FIRST_PAUSE
        while True:
            try:
                return self._attempt(operation, what, parameters)
            except StoreUnavailable:
                wait = pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
                if not self._pause(wait, deadline, stop or self._stop):
                    raise
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _attempt(self, operation: str, what: str, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = getattr(self._client, operation)(Bucket=self.name, **parameters)
        except BOTO_ERRORS as error:
            if isinstance(error, ClientError):
                self._note_date(error.response)
            raise explain(error, what, self.name, self._host) from error
        if _ALWAYS_SAID.get(operation, "ResponseMetadata") not in answer:
            if "Body" in answer:
                answer["Body"].close()
            raise StoreUnavailable(
                f"can't {what}: what answers at {self._host} is no S3 store",
                remedy="see that INGEST_S3_ENDPOINT is right, and look at proxies in between",
            )
        self._note_date(answer)
        return dict(answer)

    def _pause(self, seconds: float, deadline: float, stop: Callable[[], bool]) -> bool:
        """Wait; False when the deadline or `stop` says not to go on."""
        until = time.monotonic() + seconds
        while until < deadline and not stop() and not self._stop():
            left = until - time.monotonic()
            if left <= 0:
                return True
            time.sleep(min(left, _SLICE))
        return False

    def _note_date(self, answer: Any) -> None:  # noqa: ANN401 - boto3's dicts
        text = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
        try:
            date = parsedate_to_datetime(text)
        except ValueError:
            return
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        told, now = self._told, time.monotonic()
        if told and now - told[1] < _CLOCK_AGE:
            ahead = (_advanced(told, now) - date).total_seconds()
            if 0 <= ahead < _SET_BACK:
                return  # it is cut to its second, and the answer took its time: we know better
        self._told = date, now

    def now(self) -> datetime:
        """The store's clock, from the Date headers of recent answers."""
        if self._told is None or time.monotonic() - self._told[1] >= _CLOCK_AGE:
            try:
                self.request("list_objects_v2", "ask the time", MaxKeys=1)
            except StoreError:  # a refusal has a date as well
                if self._told is None:
                    raise
        if self._told is None:
            raise StoreUnavailable(
                f"{self._host} sends no Date header", remedy="let its proxy pass the header on"
            )
        return _advanced(self._told, time.monotonic())

    def put(self, key: str, body: Octets, content_type: str) -> None:
        """Write an object by one request."""
        self.request(
            "put_object",
            f"write {key}",
            Key=key,
            Body=body,
            ContentType=_safe(content_type),
            **self._encryption(),
            **self._checksum(body),
        )

    def begin(self, key: str, content_type: str, stop: Callable[[], bool]) -> str:
        """Begin a multipart upload; its id."""
        answer = self.request(
            "create_multipart_upload",
            f"begin {key}",
            stop=stop,
            Key=key,
            ContentType=_safe(content_type),
            **self._encryption(),
            **self._algorithm(),
        )
        return str(answer["UploadId"])

    def upload_part(
        self, key: str, upload: str, number: int, body: Octets, stop: Callable[[], bool]
    ) -> dict[str, Any]:
        """Upload one part; what `complete` wants to know of it."""
        checksum = self._checksum(body)
        answer = self.request(
            "upload_part",
            f"write {key}",
            stop=stop,
            Key=key,
            UploadId=upload,
            PartNumber=number,
            Body=body,
            **checksum,
        )
        return {"PartNumber": number, "ETag": answer["ETag"], **checksum}

    def complete(self, key: str, upload: str, parts: Sequence[dict[str, Any]], octets: int) -> None:
        """Make an upload an object.

        An answer may get lost after the store did so; then the upload is gone or the store
        unreachable, and the object, whose key nobody else writes, says what happened.
        """
        try:
            self.request(
                "complete_multipart_upload",
                f"complete {key}",
                Key=key,
                UploadId=upload,
                MultipartUpload={"Parts": parts},
            )
        except StoreError as error:
            if code_of(error) != "NoSuchUpload" and not isinstance(error, StoreUnavailable):
                raise
            if not self._is_there(key, octets):
                raise StoreUnavailable(str(error), remedy=error.remedy) from error

    def _is_there(self, key: str, octets: int) -> bool:
        try:
            answer = self.request("head_object", f"look at {key}", patient=False, Key=key)
        except StoreError:
            return False
        return bool(answer["ContentLength"] == octets)

    def abort(self, key: str, upload: str, *, patient: bool = False) -> None:
        """Abort an upload; one that is gone is no error. What can't be aborted is swept later."""
        try:
            self.request(
                "abort_multipart_upload",
                f"abort the upload of {key}",
                patient=patient,
                Key=key,
                UploadId=upload,
            )
        except StoreError as error:
            if code_of(error) != "NoSuchUpload":
                raise

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _encryption(self) -> dict[str, Any]:
        chosen = {
            "ServerSideEncryption": self._options.sse,
            "SSEKMSKeyId": self._options.sse_kms_key_id,
        }
        return {name: value for name, value in chosen.items() if value}

    def _algorithm(self) -> dict[str, Any]:
        return {"ChecksumAlgorithm": "CRC32"} if self.checksums else {}

    def _checksum(self, body: Octets) -> dict[str, Any]:
        # Given as a header it spares botocore's copy of the body and its chunked encoding, which
        # several stores don't understand.
        return {"ChecksumCRC32": crc32(body)} if self.checksums else {}


def _advanced(told: tuple[datetime, float], now: float) -> datetime:
    date, seen = told
    return date + timedelta(seconds=now - seen)


def crc32(body: Octets) -> str:
    """The checksum as S3 writes it: the CRC-32 in base64."""
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


def _safe(content_type: str) -> str:
    """A message says what type its parts are; what is no type must not reach a header."""
    return content_type if _CONTENT_TYPE.fullmatch(content_type) else "application/octet-stream"
