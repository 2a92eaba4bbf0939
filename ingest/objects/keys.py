"""Where each object lives, and the way back from a key to its batch.

    mail/<yyyy>/<mm>/<dd>/<hh>/<batch>/commit.zip
    mail/<yyyy>/<mm>/<dd>/<hh>/<batch>/part-<n>
    mailboxes/<mailbox>.json
    checkpoint.json

The hour (UTC) comes from the batch's ULID, so keys sort in time. Nothing that a message says
ever becomes part of a key.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from ulid import ULID

from ingest.errors import StoreRefused

MAIL = "mail/"

MAX_KEY = 512  # characters; S3 allows 1,024 octets with the prefix

_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_IN_BATCH = re.compile(
    r"mail/(\d{4}/\d\d/\d\d/\d\d)/([0-7][0-9A-HJKMNP-TV-Z]{25})/(commit\.zip|part-\d{1,9})"
)
_HOUR = "%Y/%m/%d/%H"


class BatchKey(NamedTuple):
    """What the key of an object of a batch says."""

    batch: str  # ULID
    name: str  # "commit.zip" or "part-<n>"


def check(key: str) -> str:
    """The key itself, where it is one that we make.

    Raises:
        StoreRefused: empty, too long, absolute, with `..`, or with a character we never use.
    """
    if len(key) > MAX_KEY or not _KEY.fullmatch(key):
        raise StoreRefused(
            "an object key is not of the form that mail-ingest makes",
            remedy="keys are words of letters, digits, '.', '_' and '-', joined by '/'",
        )
    return key


@lru_cache(maxsize=64)  # its objects are written, read and swept together
def begun(batch: str) -> datetime:
    """When the batch was begun, from its ULID.

    Raises:
        StoreRefused: it is no ULID.
    """
    try:
        return ULID.from_str(batch).datetime
    except ValueError:
        raise StoreRefused(f"{batch[:40]!r} is no batch id") from None


def batch_prefix(batch: str) -> str:
    """What the keys of all objects of the batch begin with."""
    return f"{hour_prefix(begun(batch))}{batch}/"


def part(batch: str, number: int) -> str:
    """The key of an extracted part, or of a skeleton too large for the commit object."""
    return f"{batch_prefix(batch)}part-{number}"


def commit(batch: str) -> str:
    """The key of the commit object."""
    return f"{batch_prefix(batch)}commit.zip"


def parse(key: str) -> BatchKey | None:
    """The batch that an object belongs to; None for a key that isn't one of a batch."""
    found = _IN_BATCH.fullmatch(key)
    if not found or begun(found[2]).strftime(_HOUR) != found[1]:
        return None
    return BatchKey(found[2], found[3])


def hour_prefix(hour: datetime) -> str:
    """What the keys of all batches begun in this hour begin with."""
    return f"{MAIL}{hour.astimezone(UTC).strftime(_HOUR)}/"
