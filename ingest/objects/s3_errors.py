"""What went wrong at an S3 store, in one line and with what to do about it.

The error codes are those of the Amazon S3 API reference, "Error responses", and a few that MinIO
and Ceph add.
"""

from __future__ import annotations

import re

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from ingest.errors import ObjectMissing, StoreError, StoreFull, StoreRefused, StoreUnavailable

# ResponseParserError: an answer that isn't S3's, as of a proxy in between.
BOTO_ERRORS = (boto.BotoCoreError, boto.ClientError, ResponseParserError)

_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this host a role"
_RIGHTS = (
    "allow s3:PutObject, GetObject, DeleteObject, AbortMultipartUpload, ListBucket and "
    "ListBucketMultipartUploads on the bucket of INGEST_STORE"
)
_REGION = "set INGEST_S3_REGION to the bucket's region, and INGEST_S3_ENDPOINT if it isn't Amazon's"
_AGAIN = "it is tried again; look at the store if that lasts"

# Code: what it means, what to do.
_REFUSED = {
    "InvalidAccessKeyId": ("the access key is unknown", _CREDENTIALS),
    "SignatureDoesNotMatch": ("the secret key does not fit the access key", _CREDENTIALS),
    "ExpiredToken": ("the session token expired", _CREDENTIALS),
    "InvalidToken": ("the session token is invalid", _CREDENTIALS),
    "AccessDenied": ("access denied", _RIGHTS),
    "AllAccessDisabled": ("access denied", _RIGHTS),
    "403": ("access denied", _RIGHTS),
    "NoSuchBucket": ("there is no such bucket", "make it, or correct INGEST_STORE"),
    "InvalidBucketName": ("that is no bucket name", "correct INGEST_STORE"),
    "PermanentRedirect": ("the bucket is in another region", _REGION),
    "AuthorizationHeaderMalformed": ("the bucket is in another region", _REGION),
    "301": ("the bucket is in another region", _REGION),
    "RequestTimeTooSkewed": ("this host's clock is wrong", "set its clock, for instance by NTP"),
    "KMS.NotFoundException": ("the encryption key is unknown", "correct INGEST_S3_SSE_KMS_KEY_ID"),
    "KMS.DisabledException": ("the encryption key is disabled", "enable it in KMS"),
}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"}
_MISSING = {"NoSuchKey", "NoSuchUpload", "404"}
_TRANSIENT = {  # statuses below 500 that are no verdict
    "BadDigest",  # damaged on the way
    "IncompleteBody",
    "OperationAborted",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "XAmzContentSHA256Mismatch",
    "XAmzContentChecksumMismatch",
    "408",
    "429",
}


def explain(error: Exception, what: str, bucket: str, host: str) -> StoreError:
    """The StoreError for one of BOTO_ERRORS.

    Args:
        error: what botocore raised.
        what: the operation, such as "write <key>".
        bucket: the bucket's name.
        host: the endpoint's host and port.
    """
    if isinstance(error, boto.ClientError):
        return _explain_answer(error, f"can't {what} in bucket {bucket}")
    match error:
        case boto.NoCredentialsError() | boto.PartialCredentialsError() | boto.ProfileNotFound():
            return StoreRefused(f"no credentials for bucket {bucket}", remedy=_CREDENTIALS)
        case boto.CredentialRetrievalError() | boto.MetadataRetrievalError():
            return StoreUnavailable(
                f"the credentials for bucket {bucket} could not be fetched", remedy=_CREDENTIALS
            )
        case boto.SSLError() if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return StoreRefused(
                f"the certificate of {host} does not verify",
                remedy="set AWS_CA_BUNDLE to the file of its authority, or correct the endpoint",
            )
        case boto.ConnectionError() | boto.HTTPClientError():
            return StoreUnavailable(
                f"can't {what}: no connection to {host} ({type(error).__name__})",
                remedy="see that INGEST_S3_ENDPOINT is right and the store is up",
            )
        case _:
            return StoreUnavailable(
                f"can't {what}: {host} gave no usable answer ({type(error).__name__})",
                remedy="see that INGEST_S3_ENDPOINT is an S3 store",
            )


def _explain_answer(error: boto.ClientError, line: str) -> StoreError:
    code, status = code_of(error), status_of(error)
    if code in _FULL or status == 507:  # noqa: PLR2004 - RFC 4918, Insufficient Storage
        return StoreFull(f"{line}: no space or quota left ({code})", remedy="make room there")
    if code in _REFUSED:
        reason, remedy = _REFUSED[code]
        return StoreRefused(f"{line}: {reason} ({code})", remedy=remedy)
    if code in _MISSING:
        return ObjectMissing(
            f"{line}: it is not there ({code})", remedy="see who else deletes there"
        )
    if code == "NotImplemented" or (status < 500 and code not in _TRANSIENT):  # noqa: PLR2004 - RFC 9110 15.6
        return StoreRefused(f"{line}: the store refuses it ({code})", remedy="run ingest doctor")
    return StoreUnavailable(f"{line}: the store asks us to come back ({code})", remedy=_AGAIN)


def code_of(error: BaseException | None) -> str:
    """The S3 error code of an answer, or of the answer behind a StoreError; "" for none."""
    if isinstance(error, StoreError):
        error = error.__cause__
    if not isinstance(error, boto.ClientError):
        return ""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code if re.fullmatch(r"[\w.]{1,64}", code, re.ASCII) else "unknown code"


def status_of(error: boto.ClientError) -> int:
    """The HTTP status of an answer."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
