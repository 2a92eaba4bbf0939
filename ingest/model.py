"""The values that all layers share: frozen, and named as the RFCs name them.

Sizes are octets, durations seconds, points in time aware datetimes in UTC, hashes lower-case
hexadecimal SHA-256, unless a comment says otherwise.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from ingest.errors import SettingsError

Octets: TypeAlias = "bytes | bytearray | memoryview"

Tls: TypeAlias = Literal["implicit", "starttls", "none"]


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class DeleteRule(msgspec.Struct, frozen=True):
    """When a stored message may be deleted from its server.

    `committed`: as soon as it is durable in the store. `published`: when every sink has accepted
    its events, too. `after 7d`: so long after it was committed (s, m, h, d and w are understood).
    `never`: left on the server. `shadow`: likewise, and all is a rehearsal: records and events
    have ids and a type of their own, so that the first session under another rule begins anew.
    """

    mode: Literal["committed", "published", "never", "shadow", "after"]
    after: timedelta = timedelta()

    @classmethod
    def parse(cls, text: str) -> DeleteRule:
        """Read `committed`, `published`, `after 7d`, `never` or `shadow`.

        Raises:
            SettingsError: for anything else.
        """
        match text.split():
            case ["committed" | "published" | "never" | "shadow" as mode]:
                return cls(mode)
            case ["after", span] if found := re.fullmatch(r"(\d{1,6})([smhdw])", span):
                return cls("after", timedelta(seconds=int(found[1]) * _SECONDS[found[2]]))
        raise SettingsError(
            f"unknown delete rule {text!r}",
            remedy="use committed, published, never, shadow, or after 7d",
        )

    def __str__(self) -> str:
        """The text that `parse` reads, in the largest unit that fits."""
        if self.mode != "after":
            return self.mode
        span = int(self.after.total_seconds())
        unit = next(unit for unit in reversed(_SECONDS) if span % _SECONDS[unit] == 0)
        return f"after {span // _SECONDS[unit]}{unit}"


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """Where and as whom a canary's probes are submitted (RFC 6409)."""

    host: str
    port: int
    tls: Tls = "starttls"
    username: str = ""  # empty: without signing in
    password: str = ""  # a reference, as a mailbox's
    ca_file: str = ""  # as a mailbox's
    sender: str  # envelope and From address
    recipient: str  # an address whose mail arrives in the mailbox

    def __repr__(self) -> str:
        """Name the server alone: addresses are personal, a secret is secret."""
        return f"Submission(host={self.host!r}, port={self.port})"


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was sent to a canary to measure its way."""

    id: str  # random, 32 hexadecimal digits
    sent_at: datetime  # by Redis's clock, to the millisecond


class Mailbox(msgspec.Struct, frozen=True, kw_only=True):
    """Our configured account for one maildrop."""

    id: str  # opaque, never derived from the address
    name: str  # what people call it on the command line; unique
    tenant: str = "default"
    host: str
    port: int
    tls: Tls = "implicit"
    username: str
    password: str  # `env:NAME`, `file:PATH` or `sealed:TOKEN`; never the password itself
    ca_file: str = ""  # PEM file to trust instead of the system's authorities
    delete: str = "committed"  # see DeleteRule
    paused: str = ""  # why it is not polled; empty: it is
    source: str = ""  # which declarations keep it (`ingest mailbox apply`); empty: people do
    canary: Submission | None = None  # how probes are sent to it; None: it is no canary

    @property
    def group(self) -> str:
        """The limit group: mailboxes of one provider host and one tenant share their slots."""
        return f"{self.host}|{self.tenant}"

    @property
    def claims(self) -> tuple[str, str]:
        """What no other mailbox may have: its name and, not readable, its account."""
        account = f"{self.host}\n{self.port}\n{self.username}".casefold()
        # An address is personal: its hash serves as well.
        hashed = hashlib.sha256(account.encode()).hexdigest()
        return name_claim(self.name), f"account:{hashed}"

    def __repr__(self) -> str:
        """Name the mailbox by its id alone: an address is personal, a secret is secret."""
        return f"Mailbox(id={self.id!r})"


def name_claim(name: str) -> str:
    """The claim of a mailbox with that name."""
    return f"name:{name.casefold()}"


class Lease(NamedTuple):
    """The right to hold a session with one mailbox, until it expires or is given back."""

    mailbox: str  # id
    group: str
    id: str  # random, compared for equality at every write

    @property
    def host(self) -> str:
        """The provider's host: see `Mailbox.group`."""
        return self.group.partition("|")[0]


class Listed(NamedTuple):
    """One message as STAT, LIST and UIDL announce it."""

    number: int  # RFC 1939 message-number, of this session only
    octets: int  # what LIST says, which servers get wrong: never framing
    unique_id: str | None  # None: missing, blank, or listed more than once


class LedgerEntry(msgspec.Struct, frozen=True, array_like=True):
    """What we remember of a message by its unique-id."""

    record_id: str
    listed_octets: int
    header_sha256: str  # of what TOP n 0 gave or would give; empty: header block over the limit
    committed_at: float  # seconds since the epoch, by Redis's clock
    deleted: bool = False  # QUIT answered +OK after its DELE
    rehearsal: bool = False  # stored by a rehearsal only


class Horizon(NamedTuple):
    """What is past, in seconds since the epoch by Redis's clock."""

    now: float
    accepted_before: float  # every sink has the events of what was committed before then


class Defect(msgspec.Struct, frozen=True):
    """Damage found in a message, or a limit it went over. A fact, never an error."""

    name: str  # static, e.g. "multipart-unterminated"
    part: str = ""  # part path, e.g. "1.2"; empty: the message
    note: str = ""  # numbers and names of fields, never content


# The defect of a message that came with far fewer octets than LIST announced: it may have been cut.
SHORTER_THAN_LISTED = "shorter-than-listed"
NOT_PARSED = "not-parsed"  # the defect of a message that is stored without looking into it


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One leaf of the MIME tree (RFC 2045 "entity"), extracted or not."""

    path: str  # "1.2" as in IMAP's body section numbers
    content_type: str  # lower-case type/subtype
    charset: str = ""
    disposition: str = ""  # RFC 2183: inline, attachment, ...
    filename: str = ""  # safe to display: no controls, bidi overrides, path parts
    filename_raw: str = ""  # the header value as it came, unfolded
    content_id: str = ""
    encoding: str = "7bit"  # Content-Transfer-Encoding, lower-case
    encoded_octets: int
    octets: int  # decoded
    sha256: str  # of the decoded octets
    key: str = ""  # object that holds the decoded octets; empty: it is in the skeleton


class Skeleton(msgspec.Struct, frozen=True):
    """Where the octets are that no part holds."""

    octets: int
    sha256: str
    key: str = ""  # an object of its own where it is large; empty: in the commit object


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What the header says of the message, decoded; addresses as "Name <local@domain>"."""

    message_id: str = ""
    in_reply_to: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    sender: tuple[str, ...] = ()  # From
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    reply_to: tuple[str, ...] = ()
    subject: str = ""
    date: str = ""  # RFC 3339; empty: missing or unreadable
    classification: Literal["message", "bounce", "auto-reply", "list"] = "message"


class StoredEvent(msgspec.Struct, frozen=True):
    """An event exactly as it is sent, now and at every later sending."""

    id: str
    type: str
    json: str  # CloudEvents 1.0, structured mode


# One step of a splice program (see ingest.mime.splice): ("copy", octets),
# ("raw", part key index, offset, octets) or
# ("base64", part key index, offset, octets, line length, "crlf" | "lf").
Step: TypeAlias = (
    tuple[Literal["copy"], int]
    | tuple[Literal["raw"], int, int, int]
    | tuple[Literal["base64"], int, int, int, int, Literal["crlf", "lf"]]
)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The object that says a message is ours."""

    version: Literal[1] = 1
    id: str
    mailbox: str  # id
    tenant: str
    batch: str  # ULID
    index: int  # position in the batch
    unique_id: str | None
    listed_octets: int
    octets: int
    sha256: str
    header_sha256: str
    retrieved_at: datetime
    skeleton: Skeleton
    program: tuple[tuple[str | int, ...], ...]  # of Step
    envelope: Envelope
    preview: str = ""
    parts: tuple[Part, ...] = ()
    defects: tuple[Defect, ...] = ()
    events: tuple[StoredEvent, ...] = ()
    rehearsal: bool = False  # see DeleteRule `shadow`
    version_of: str = ""  # the record that this is a version of, parsed again later

    @property
    def quarantined(self) -> bool:
        """Whether it was stored without parsing it."""
        return any(defect.name == NOT_PARSED for defect in self.defects)

    @property
    def memorable_id(self) -> str | None:
        """The unique-id that the ledger may know the message by; None: none.

        A message that may have been cut has none: the whole one, which the server still has, has
        the same unique-id, LIST size and header block, and would be deleted unseen.
        """
        cut = any(defect.name == SHORTER_THAN_LISTED for defect in self.defects)
        return None if cut else self.unique_id


def record_id(mailbox: str, sha256: str, *, rehearsal: bool = False) -> str:
    """The id of the record of a message: the same for the same octets in the same mailbox.

    A rehearsal has an id of its own, so that the real thing is new when it comes.
    """
    kind = "rehearsal" if rehearsal else "record"
    return hashlib.sha256(f"{kind}/1\n{mailbox}\n{sha256}".encode()).hexdigest()[:32]


def version_id(record: str, batch: str) -> str:
    """The id of a version of a record, made in that batch."""
    return hashlib.sha256(f"version/1\n{record}\n{batch}".encode()).hexdigest()[:32]


def event_id(record: str, event_type: str) -> str:
    """The id of an event: the same for the same record and event type."""
    return hashlib.sha256(f"event/1\n{record}\n{event_type}".encode()).hexdigest()[:32]
