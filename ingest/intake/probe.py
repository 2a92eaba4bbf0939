"""Probes: messages that a canary gets to measure the way of its mail.

A probe is mail like any other, and goes all the way of it. What makes it a probe is a field of its
header with a random id, the time of sending, and our signature over both and the mailbox: nobody
else can make one, and in another mailbox a copy is none.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Final, Protocol

from ingest.mime.events import Field
from ingest.model import Probe, Submission

FIELD: Final = "X-Mail-Ingest-Canary"

_NAME = FIELD.lower()
_VALUE = re.compile(r"v1 ([0-9a-f]{32}) ([0-9]{13}) ([0-9a-f]{64})")
_MOST_OCTETS = 256  # of a value, with the white space that relays add where they fold it
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MESSAGE = """\
From: <{submission.sender}>
To: <{submission.recipient}>
Subject: mail-ingest canary
Date: {date}
Message-ID: <{probe.id}@{domain}>
Auto-Submitted: auto-generated
{field}: v1 {probe.id} {sent}
 {signature}
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii

This message measures how long mail takes to arrive and to be ingested.
Nobody has to read or answer it.
"""


class Seal(Protocol):
    """Signs, and knows what it has signed."""

    def sign(self, octets: bytes) -> str:
        """Our signature, 64 hexadecimal digits. Raises SettingsError where there is no key."""

    def is_signed(self, octets: bytes, signature: str) -> bool:
        """Whether it is ours."""


def new_probe(now: float) -> Probe:
    """A probe that is about to be sent, `now` in seconds since the epoch."""
    return Probe(id=secrets.token_hex(16), sent_at=_moment(int(now * 1000)))


def compose(probe: Probe, mailbox: str, submission: Submission, seal: Seal) -> bytes:
    """The probe as a message (RFC 5322) to the mailbox of that id.

    Raises:
        SettingsError: there is no key to sign it with.
    """
    sent = _milliseconds(probe)
    message = _MESSAGE.format(
        submission=submission,
        probe=probe,
        date=format_datetime(probe.sent_at),
        domain=submission.sender.rpartition("@")[2],
        field=FIELD,
        sent=sent,
        signature=seal.sign(_signed(mailbox, probe.id, sent)),
    )
    return message.replace("\n", "\r\n").encode("ascii")


class Recognition:
    """Tells the probes of one mailbox from its other mail.

    Args:
        mailbox: its id.
        seal: that signed them.
    """

    def __init__(self, mailbox: str, seal: Seal) -> None:
        self._mailbox = mailbox
        self._seal = seal

    def __call__(self, header: Iterable[Field]) -> Probe | None:
        """The probe that a message with this header is; None: it is none."""
        raw = next((field.raw for field in header if field.name == _NAME), b"")
        text = " ".join(raw[:_MOST_OCTETS].decode("latin-1").split())
        if not (found := _VALUE.fullmatch(text)):
            return None
        probe, sent, signature = found.groups()
        if not self._seal.is_signed(_signed(self._mailbox, probe, sent), signature):
            return None
        return Probe(id=probe, sent_at=_moment(int(sent)))


def _signed(mailbox: str, probe: str, sent: str) -> bytes:
    return f"canary/1\n{mailbox}\n{probe}\n{sent}".encode()


def _milliseconds(probe: Probe) -> str:
    return f"{(probe.sent_at - _EPOCH) // timedelta(milliseconds=1):013d}"


def _moment(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)
