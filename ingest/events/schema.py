"""The events: CloudEvents 1.0 in structured JSON mode, at most 64 KiB each.

An event carries references and facts, never content: what does not fit is left out, and
`dataref` says where all of it can be read (CloudEvents "dataref" extension).

Who answers mail or counts it reads the type: a probe is nobody's mail.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ingest.model import Defect, Envelope, Part, Probe, Record, StoredEvent, event_id

INGESTED = "mail-ingest.message.ingested.v1"
REPARSED = "mail-ingest.message.reparsed.v1"  # a version of a message that was quarantined before
REHEARSED = "mail-ingest.message.rehearsed.v1"  # the same, for a mailbox with the rule `shadow`
PROBED = "mail-ingest.message.probed.v1"  # our own probe of a canary, whatever the rule

MAX_OCTETS = 64 * 1024

_PREVIEW_WHEN_SHORTENED = 100


class PartReference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One part of the message and where its decoded octets are."""

    path: str
    content_type: str
    filename: str = ""
    content_id: str = ""
    disposition: str = ""
    octets: int
    sha256: str
    uri: str = ""  # absent: the part is inside the skeleton


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The facts of one ingested message."""

    mailbox: str
    tenant: str
    record: str
    session: str = ""  # that retrieved it: what its log lines have, and its trace's id
    octets: int
    sha256: str
    envelope: Envelope
    preview: str = ""
    parts: tuple[PartReference, ...] = ()
    defects: tuple[Defect, ...] = ()
    version_of: str = ""  # the record that this is a version of, parsed again later
    probe: Annotated[
        Probe | None,
        Meta(description=f"Of events of type {PROBED} alone: which probe of ours it is."),
    ] = None
    shortened: bool = False  # something was left out: dataref has all of it


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A CloudEvent whose data is a message."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: Annotated[
        str,
        Meta(
            description=f"{INGESTED}: new mail. {REPARSED}: what was quarantined, parsed now. "
            f"{REHEARSED}: a rehearsal. {PROBED}: not mail, but a probe that we sent ourselves to "
            "measure its way; ignore it."
        ),
    ]
    time: datetime
    datacontenttype: Literal["application/json"] = "application/json"
    sequence: str  # CloudEvents "sequence" extension: sorts the events of one mailbox
    dataref: str
    # CloudEvents "distributed tracing" extension, where tracing is on: the message's span. It is
    # made with the event and stored with it, so that every later sending continues that trace.
    traceparent: str | UnsetType = UNSET
    data: Message


_encoder = msgspec.json.Encoder()


def ingested(
    record: Record,
    *,
    deployment: str,
    dataref: str,
    uri: Callable[[str], str],
    session: str = "",
    traceparent: str = "",
    probe: Probe | None = None,
) -> StoredEvent:
    """The event that says a message is ours.

    Args:
        record: the record as it will be stored, without its events.
        deployment: names the fleet in `source`.
        dataref: where the record can be read.
        uri: makes an address of an object's key.
        session: the id of the session that retrieved the message; empty: none did.
        traceparent: the current span (W3C Trace Context); empty: there is none.
        probe: that the message is; None: it is mail.
    """
    message = _message(record, uri, session, probe)
    kind = _kind(record, probe)
    event = CloudEvent(
        id=event_id(record.id, kind),
        source=f"/mail-ingest/{deployment}/mailboxes/{record.mailbox}",
        type=kind,
        time=record.retrieved_at,
        sequence=f"{record.batch}-{record.index:06d}",
        dataref=dataref,
        traceparent=traceparent or UNSET,
        data=message,
    )
    encoded = _encoder.encode(event)
    if len(encoded) > MAX_OCTETS:
        encoded = _encoder.encode(msgspec.structs.replace(event, data=_shortened(message)))
    return StoredEvent(id=event.id, type=event.type, json=encoded.decode())


def _kind(record: Record, probe: Probe | None) -> str:
    """The type of its event."""
    if probe:
        return PROBED
    if record.rehearsal:
        return REHEARSED
    return REPARSED if record.version_of else INGESTED


def _message(
    record: Record, uri: Callable[[str], str], session: str, probe: Probe | None
) -> Message:
    """All the facts."""
    return Message(
        mailbox=record.mailbox,
        tenant=record.tenant,
        record=record.id,
        session=session,
        octets=record.octets,
        sha256=record.sha256,
        envelope=record.envelope,
        preview=record.preview,
        parts=tuple(_reference(part, uri) for part in record.parts),
        defects=record.defects,
        version_of=record.version_of,
        probe=probe,
    )


def _reference(part: Part, uri: Callable[[str], str]) -> PartReference:
    return PartReference(
        path=part.path,
        content_type=part.content_type,
        filename=part.filename,
        content_id=part.content_id,
        disposition=part.disposition,
        octets=part.octets,
        sha256=part.sha256,
        uri=uri(part.key) if part.key else "",
    )


def _shortened(message: Message) -> Message:
    """The same facts without the lists that a hostile message can make long."""
    envelope = message.envelope
    return msgspec.structs.replace(
        message,
        envelope=Envelope(
            message_id=envelope.message_id[:1000],
            sender=tuple(address[:1000] for address in envelope.sender[:1]),
            subject=envelope.subject[:1000],
            date=envelope.date,
            classification=envelope.classification,
        ),
        preview=message.preview[:_PREVIEW_WHEN_SHORTENED],
        parts=(),
        defects=(),
        shortened=True,
    )


def json_schema() -> dict[str, object]:
    """The JSON schema of the events, made from the models."""
    return msgspec.json.schema(CloudEvent)
