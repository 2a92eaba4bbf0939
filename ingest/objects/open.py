"""The object store that a URL names."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ingest.errors import SettingsError, StoreRefused
from ingest.objects import keys
from ingest.objects.budget import Budget
from ingest.objects.directory import DirectoryStore
from ingest.objects.options import S3Options
from ingest.objects.probe import Store

if TYPE_CHECKING:
    from ingest.objects.s3 import S3Store

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def open_store(
    url: str,
    budget: Budget,
    options: S3Options | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Store:
    """The store at `s3://bucket/prefix` or `file:///directory`. Nothing is sent to it yet.

    Args:
        url: where it is.
        budget: what its upload buffers count against.
        options: how an S3 store is reached.
        stop: says at a shutdown that waiting and repeating are over.

    Raises:
        SettingsError: the URL is of neither form, or the endpoint is none.
        StoreRefused: the credentials are incomplete.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _wrong("it is no URL") from None
    if parts.query or parts.fragment or parts.username:
        raise _wrong("it has more than a place in it")
    match parts.scheme, parts.netloc:
        case "file", "" | "localhost" if len(parts.path) > 1 and "%00" not in parts.path:
            return DirectoryStore(unquote(parts.path))
        case "s3", bucket if _BUCKET.fullmatch(bucket):
            return _open_s3(bucket, parts.path.strip("/"), budget, options or S3Options(), stop)
        case "s3", _:
            raise _wrong("its bucket is missing or not a bucket's name")
        case _:
            raise _wrong("it begins neither with s3:// nor with file:///")


def _open_s3(
    name: str, prefix: str, budget: Budget, options: S3Options, stop: Callable[[], bool]
) -> S3Store:
    try:
        keys.check(prefix or "none")
    except StoreRefused:
        raise _wrong("its prefix has other characters than letters, digits, . _ -") from None
    from ingest.objects.bucket import Bucket  # noqa: PLC0415 - boto3 takes 0.3 s to import
    from ingest.objects.s3 import S3Store  # noqa: PLC0415 - likewise

    bucket = Bucket(name, options, stop)
    return S3Store(bucket, prefix, budget, workers=options.workers, stop=stop)


def _wrong(reason: str) -> SettingsError:
    return SettingsError(
        f"INGEST_STORE can't be used: {reason}",
        remedy="use s3://bucket/prefix or file:///absolute/directory",
    )
