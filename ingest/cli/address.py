"""A mailbox's address as people type it: pop3s://user@host, pop3://user@host:110."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

import typer

from ingest.model import Tls

_FORM = "use pop3s://USER@HOST[:PORT], or pop3://USER@HOST for STLS on port 110"


class Address(NamedTuple):
    """Where the maildrop is and whose it is."""

    host: str
    port: int
    tls: Tls
    username: str


def parse(url: str, *, plaintext: bool = False) -> Address:
    """Read a URL. No message ever repeats it, for it may hold a password.

    `pop3s` is TLS from the start (RFC 8314), `pop3` requires STLS (RFC 2595) unless `plaintext`.

    Raises:
        typer.BadParameter: it is not one, or has a password in it.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise typer.BadParameter(f"that is no address of a mailbox: {_FORM}") from None
    if parts.password is not None:
        raise typer.BadParameter(
            "there is a password in the address, where others can read it: leave it out, and "
            "change it, for what you typed may be kept"
        )
    if parts.path.strip("/") or parts.query or parts.fragment or not host:
        raise typer.BadParameter(f"that is no address of a mailbox: {_FORM}")
    username = unquote(parts.netloc.rpartition("@")[0])
    if not username or any(character < " " or character == "\x7f" for character in username):
        raise typer.BadParameter(f"the address names no user: {_FORM}")
    tls = _tls(parts, plaintext=plaintext)
    return Address(host, port or (995 if tls == "implicit" else 110), tls, username)


def _tls(parts: SplitResult, *, plaintext: bool) -> Tls:
    match parts.scheme, plaintext:
        case "pop3s", False:
            return "implicit"
        case "pop3", False:
            return "starttls"
        case "pop3", True:
            return "none"
        case "pop3s", True:
            raise typer.BadParameter("pop3s:// is encrypted: leave plaintext out, or use pop3://")
    raise typer.BadParameter(f"that is no address of a mailbox: {_FORM}")
