"""What a message's header says of it: who, to whom, about what, when, and of which kind."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Literal, TypeAlias

from ingest.mime.addresses import addresses
from ingest.mime.charset import clean, text_of
from ingest.mime.events import Field
from ingest.mime.header import decode_words, parameters
from ingest.mime.limits import DEFAULT
from ingest.model import Envelope

Classification: TypeAlias = Literal["message", "bounce", "auto-reply", "list"]

_READ = {
    "message-id",
    "in-reply-to",
    "references",
    "from",
    "to",
    "cc",
    "reply-to",
    "subject",
    "date",
}
_MAX_SUBJECT = 1_000  # characters
_MAX_ID = 500  # characters of one message-id
_MAX_IDS = 100  # of References; the last ones are kept, they are the nearest ancestors
_CONSIDERED = 64 * 1024  # octets of one field
_ID = re.compile(r"<([^<>\s]+)>")
_DATE = re.compile(
    r"(?:[A-Za-z]+\.?,?\s+)?(\d{1,2})[\s-]+([A-Za-z]{3})[A-Za-z]*[\s-]+(\d{2,4}),?\s+"
    r"(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?\s*(?:([+-])(\d{2}):?(\d{2})|([A-Za-z]{1,5}))?"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_ZONES = {"est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7}
# RFC 3834 section 5: these are sent by a machine, but not in answer to a message.
_NO_REPLY = {"", "no", "auto-generated", "auto-notified"}


def envelope(fields: Iterable[Field]) -> Envelope:
    """Make the envelope of a header. Of a field that is there twice, the first counts."""
    first: dict[str, bytes] = {}
    for name, raw in fields:
        if name not in first:
            first[name] = raw
    text = {name: text_of(raw[:_CONSIDERED]) for name, raw in first.items() if name in _READ}
    return Envelope(
        message_id=next(iter(message_ids(text.get("message-id", ""))), ""),
        in_reply_to=message_ids(text.get("in-reply-to", "")),
        references=message_ids(text.get("references", "")),
        sender=addresses(text.get("from", "")),
        to=addresses(text.get("to", "")),
        cc=addresses(text.get("cc", "")),
        reply_to=addresses(text.get("reply-to", "")),
        subject=clean(decode_words(text.get("subject", "")), _MAX_SUBJECT),
        date=rfc3339(text.get("date", "")),
        classification=classify(first),
    )


def message_ids(text: str) -> tuple[str, ...]:
    """The message-ids in a text, without angle brackets; a lone word without them counts too."""
    if not text:
        return ()
    found = [clean(each, _MAX_ID) for each in _ID.findall(text)[-_MAX_IDS:]]
    if not found and len(text.split()) == 1:
        found = [clean(text.strip("<>"), _MAX_ID)]
    return tuple(found)


def rfc3339(text: str) -> str:
    """A date-time (RFC 5322 section 3.3, and what passes for one) in RFC 3339; empty if unreadable.

    A missing or unknown zone is read as UTC, as section 4.3 has it.
    """
    if not (match := _DATE.search(text[:200])):
        return ""
    day, month, year, hour, minute, second, sign, hours, minutes, zone = match.groups()
    offset = timedelta(hours=_ZONES.get((zone or "").lower(), 0))
    if sign:
        offset = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)
    full_year = int(year) + (0 if len(year) == 4 else 2000 if int(year) < 50 else 1900)  # noqa: PLR2004 - RFC 5322 section 4.3
    try:
        return datetime(
            full_year,
            1 + _MONTHS.index(month.lower()),
            int(day),
            int(hour),
            int(minute),
            min(int(second or 0), 59),  # a leap second
            tzinfo=timezone(offset),
        ).isoformat()
    except ValueError:
        return ""


def classify(first: dict[str, bytes]) -> Classification:
    """Say of which kind a message is, by the first field of each name.

    `bounce`: a delivery status report (RFC 3464), or a report, or mail from the mailer daemon,
    that has the null return path (RFC 5321 section 4.5.5). `auto-reply`: RFC 3834, or its older
    kin. `list`: RFC 2919.
    """
    content_type = first.get("content-type", b"")
    report = content_type[:16].lower() == b"multipart/report"
    if report and _report_type(content_type) == "delivery-status":
        return "bounce"
    null_path = first.get("return-path", b"").replace(b" ", b"") == b"<>"
    origin = first.get("from", b"")[:_CONSIDERED].lower()
    if null_path and (report or b"mailer-daemon@" in origin or b"postmaster@" in origin):
        return "bounce"
    if "x-failed-recipients" in first:
        return "bounce"
    submitted = first.get("auto-submitted", b"").partition(b";")[0].split(b"(")[0]
    if submitted.strip().lower().decode("latin-1") not in _NO_REPLY or "x-autoreply" in first:
        return "auto-reply"
    if first.get("precedence", b"").lower() == b"auto_reply":
        return "auto-reply"
    return "list" if "list-id" in first else "message"


def _report_type(content_type: bytes) -> str:
    """What a multipart/report reports (RFC 6522 section 3)."""
    _, found = parameters(content_type[:_CONSIDERED], DEFAULT.parameters)
    return found.get("report-type", "").lower()
