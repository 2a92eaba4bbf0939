"""Where a canary's probes are submitted, as people type it: smtps://user@host/?to=address."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import typer

from ingest.model import Submission, Tls

_FORM = "use smtps://USER@HOST[:PORT]/?to=ADDRESS, or smtp://USER@HOST for STARTTLS on port 587"
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-]{1,64}@[A-Za-z0-9.\-]{1,255}")
_SCHEMES: Final[dict[str, Tls]] = {"smtps": "implicit", "smtp": "starttls"}
_PORTS: Final[dict[Tls, int]] = {"implicit": 465, "starttls": 587, "none": 25}


def parse(url: str, *, own: str, plaintext: bool = False) -> Submission:
    """Read a URL. No message ever repeats it, for it may hold a password.

    `smtps` is TLS from the start (RFC 8314), `smtp` requires STARTTLS (RFC 3207) unless
    `plaintext`. Without a user nobody signs in. `to` is `own`, the mailbox's user name, where it
    is not given, `from` is the user or else `to`.

    Raises:
        typer.BadParameter: it is not one, or has a password in it.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        query = parts.query.replace("+", "%2B")  # people mean it, addresses have no spaces
        asked = dict(parse_qsl(query, strict_parsing=bool(query), max_num_fields=2))
    except ValueError:
        raise typer.BadParameter(f"that is no address of an SMTP server: {_FORM}") from None
    if parts.password is not None:
        raise typer.BadParameter(
            "there is a password in the address, where others can read it: leave it out (you "
            "will be asked for it), and change it, for your shell may remember it"
        )
    schemes: dict[str, Tls] = {"smtp": "none"} if plaintext else _SCHEMES
    if not host or parts.scheme not in schemes or parts.path.strip("/") or parts.fragment:
        raise typer.BadParameter(f"that is no address of an SMTP server: {_FORM}")
    if asked.keys() - {"to", "from"}:
        raise typer.BadParameter(f"only to= and from= may stand behind the question mark: {_FORM}")
    tls = schemes[parts.scheme]
    username = unquote(parts.netloc.rpartition("@")[0])
    recipient = asked.get("to", own)
    sender = asked.get("from", username if _ADDRESS.fullmatch(username) else recipient)
    for each in (recipient, sender):
        if not _ADDRESS.fullmatch(each):
            raise typer.BadParameter(f"it does not say to which mail address: {_FORM}")
    return Submission(
        host=host,
        port=port or _PORTS[tls],
        tls=tls,
        username=_printable(username),
        sender=sender,
        recipient=recipient,
    )


def address_of(submission: Submission) -> str:
    """The address as `parse` takes it."""
    scheme = "smtps" if submission.tls == "implicit" else "smtp"
    host = f"[{submission.host}]" if ":" in submission.host else submission.host
    port = "" if submission.port == _PORTS[submission.tls] else f":{submission.port}"
    user = f"{quote(submission.username, safe='')}@" if submission.username else ""
    asked = urlencode(
        {"to": submission.recipient, "from": submission.sender}, safe="@+", quote_via=quote
    )
    return f"{scheme}://{user}{host}{port}/?{asked}"


def _printable(username: str) -> str:
    if not username.isprintable():
        raise typer.BadParameter(f"the user has characters that don't print: {_FORM}")
    return username
