"""How an S3 store is reached; apart from the store, so that reading it loads no boto3."""

from __future__ import annotations

import msgspec


class S3Options(msgspec.Struct, frozen=True, kw_only=True):
    """How an S3 store is reached. Credentials come from boto3's usual places."""

    endpoint: str = ""  # empty: Amazon's
    region: str = ""
    path_style: bool = False  # https://host/bucket rather than https://bucket.host
    sse: str = ""  # server-side encryption: AES256 or aws:kms
    sse_kms_key_id: str = ""
    workers: int = 16  # threads that write
    connections: int = 64  # kept open
    deadline: float = 60.0  # seconds for which one request is repeated
