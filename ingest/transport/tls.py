"""TLS as RFC 8314 wants it: at least 1.2, with a certificate that verifies for the host."""

from __future__ import annotations

import ssl
from functools import lru_cache
from pathlib import Path

from ingest.errors import TlsFailed

_TRUST = "give the certificate of the authority to trust as the mailbox's CA file"
_OTHER_HOST = "use the host name that the certificate was made for"
_OLD = ("the server speaks no TLS of version 1.2 or later", "its operator must enable TLS 1.2")

# OpenSSL's reasons (X509_V_ERR_*) to what is wrong and what to do about it.
_CERTIFICATE_ERRORS = {
    9: ("the server's certificate is not valid yet", "check the clocks of both machines"),
    10: ("the server's certificate has expired", "its operator must renew it"),
    18: ("the server's certificate is self-signed", _TRUST),
    19: ("the server's certificate comes from an authority that is not trusted", _TRUST),
    20: ("the server's certificate comes from an authority that is not trusted", _TRUST),
    62: ("the server's certificate is for another host", _OTHER_HOST),
    64: ("the server's certificate is for another address", _OTHER_HOST),
}
_HANDSHAKE_ERRORS = {
    "WRONG_VERSION_NUMBER": (
        "the server does not speak TLS on this port",
        "TLS from the start is on port 995, STLS on port 110",
    ),
    "UNSUPPORTED_PROTOCOL": _OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD,
}


def client_context(ca_file: str) -> ssl.SSLContext:
    """What to trust: the authorities in that PEM file, or the system's where it is empty.

    Raises:
        TlsFailed: the file can't be read.
    """
    try:
        changed = Path(ca_file).stat().st_mtime_ns if ca_file else 0
        return _context(ca_file, changed)
    except OSError as error:  # ssl.SSLError is one
        raise TlsFailed(
            f"the CA file {ca_file!r} can't be read: {error.strerror or error}",
            remedy="it must exist, be readable by the worker and contain PEM certificates",
        ) from error


@lru_cache(maxsize=64)
def _context(ca_file: str, _changed: int) -> ssl.SSLContext:
    """Kept, because parsing the authorities costs more than a session; until the file changes."""
    context = ssl.create_default_context(cafile=ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def failed(peer: str, error: OSError | ValueError) -> TlsFailed:
    """The error of a handshake, in words."""
    what, remedy = f"the TLS handshake failed: {error}", ""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"the server's certificate does not verify: {error.verify_message}"
        what, remedy = _CERTIFICATE_ERRORS.get(error.verify_code, (reason, _TRUST))
    elif isinstance(error, ssl.SSLEOFError | ConnectionError):
        what = "the server closed the connection during the TLS handshake"
    elif isinstance(error, ssl.SSLError):
        what, remedy = _HANDSHAKE_ERRORS.get(error.reason or "", (what, remedy))
    return TlsFailed(f"{peer}: {what}", remedy=remedy)
