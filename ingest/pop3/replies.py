"""Reading status lines and the lines of listings (RFC 1939, RFC 2449 section 8).

Strict where leniency would let a server or a message forge a reply; robust where a server's
mistake concerns one message only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ingest.errors import RemoteProtocolError

_STATUS = re.compile(rb"(\+OK|-ERR|\+(?= ))(?: (.*))?", re.DOTALL)
_CODE = re.compile(r"\[([A-Z0-9][A-Z0-9/._-]{0,62})\] ?(.*)", re.DOTALL | re.IGNORECASE)
_DROP_LISTING = re.compile(r"([0-9]{1,10}) ([0-9]{1,18})(?: .*)?", re.DOTALL)
_SCAN_LISTING = re.compile(rb"([0-9]{1,10})(?: +([0-9]{1,18}))?(?:[^0-9].*)?", re.DOTALL)
_UNIQUE_ID_LISTING = re.compile(rb"([1-9][0-9]{0,9}) +([\x21-\x7e]{1,70}) *")


class Status(NamedTuple):
    """A status line, taken apart."""

    indicator: str  # +OK, -ERR, or + for a continuation
    text: str  # without the response code
    code: str  # RFC 2449 section 8, upper case, e.g. IN-USE or SYS/TEMP; empty: none


def read_status(line: bytes) -> Status:
    """Read a status line, without its CR LF.

    Raises:
        RemoteProtocolError: it is neither `+OK`, `-ERR` nor a continuation (RFC 5034 section 4).
    """
    found = _STATUS.fullmatch(line)
    if found is None:
        raise RemoteProtocolError("a status line begins neither with +OK nor with -ERR")
    indicator = found[1].decode()
    text = (found[2] or b"").decode(errors="replace")
    if text.startswith("[") and (coded := _CODE.fullmatch(text)):
        return Status(indicator, coded[2], coded[1].upper())
    return Status(indicator, text, "")


def read_capabilities(lines: Iterable[bytes]) -> Mapping[str, tuple[str, ...]]:
    """The lines of CAPA: each keyword, in upper case, with its arguments (RFC 2449 section 5)."""
    words = [line.decode("ascii", "replace").split() for line in lines]
    return {keyword.upper(): tuple(rest) for keyword, *rest in filter(None, words)}


def read_drop_listing(text: str) -> tuple[int, int]:
    """The answer to STAT: how many messages, how many octets (RFC 1939 section 5).

    Raises:
        RemoteProtocolError: it is not two numbers.
    """
    found = _DROP_LISTING.fullmatch(text)
    if found is None:
        raise RemoteProtocolError("the answer to STAT is not two numbers")
    return int(found[1]), int(found[2])


def read_scan_listing(line: bytes) -> tuple[int, int]:
    """A line of LIST: message-number and octets (RFC 1939 section 5).

    Octets that can't be read (servers print negative ones past 2 GiB) are 0: they are a hint.

    Raises:
        RemoteProtocolError: there is no message-number.
    """
    found = _SCAN_LISTING.fullmatch(line)
    if found is None or not int(found[1]):
        raise RemoteProtocolError("a line of LIST has no message-number")
    return int(found[1]), int(found[2] or 0)


def read_unique_id_listing(line: bytes) -> tuple[int, str] | None:
    """A line of UIDL: message-number and unique-id (RFC 1939 section 7).

    None where that is not what it is, as with an id that is blank, over 70 octets, or not of
    0x21 to 0x7E: the message then counts as one without unique-id.
    """
    found = _UNIQUE_ID_LISTING.fullmatch(line)
    return found and (int(found[1]), found[2].decode("ascii"))
