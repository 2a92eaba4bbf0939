"""What a `Connection` makes of the octets it receives.

Greeting
Reply                                  to a command that only has a status, or refused
Reply  Lines*        ListingEnd        CAPA, LIST, UIDL
Reply  BodyOctets*   BodyEnd           RETR, TOP
Challenge* Reply                       AUTH
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from ingest.pop3.commands import Command


class Greeting(msgspec.Struct, frozen=True):
    """The server's first line (RFC 1939 section 4)."""

    ok: bool
    text: str
    code: str  # response code; empty: none


class Reply(msgspec.Struct, frozen=True):
    """The status that answers the oldest command that had no answer yet."""

    command: Command
    ok: bool
    text: str
    code: str  # response code; empty: none


class Challenge(msgspec.Struct, frozen=True):
    """The server wants a SASL response (RFC 5034 section 4)."""

    text: str  # base64; empty: for the initial response


class Lines(msgspec.Struct, frozen=True):
    """The next lines of a listing, unstuffed, without CR LF."""

    lines: list[bytes]


class ListingEnd(msgspec.Struct, frozen=True):
    """A listing is complete."""


class BodyOctets(msgspec.Struct, frozen=True):
    """The next octets of a message, unstuffed. The view is valid until the next event."""

    octets: memoryview


class BodyEnd(msgspec.Struct, frozen=True):
    """A message is complete: its terminator stood here."""

    octets: int  # how many it had, final CR LF included


Event: TypeAlias = Greeting | Reply | Challenge | Lines | ListingEnd | BodyOctets | BodyEnd
