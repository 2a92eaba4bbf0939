"""Mailboxes as a file declares them: read and checked, nothing changed yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import msgspec
import typer

from ingest.cli import address, output
from ingest.errors import SettingsError
from ingest.model import DeleteRule, Mailbox

# What a declaration says of a mailbox; the rest is as it is.
FIELDS: Final = (
    *("name", "tenant", "host", "port", "tls", "username"),
    *("password", "ca_file", "delete"),
)


class _Declaration(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One entry of the file."""

    name: str
    address: str  # as `mailbox add` takes it
    password: str  # env:NAME or file:/PATH, wherever the workers run
    delete: str = "committed"
    tenant: str = "default"
    ca_file: str = ""
    plaintext: bool = False
    paused: str = ""  # why it is not polled

    def __repr__(self) -> str:
        """No values: somebody may have put a password there."""
        return "_Declaration(...)"


def read(octets: bytes) -> tuple[list[Mailbox], list[str]]:
    """The mailboxes that a file declares, in JSON or YAML, and what is wrong with which entries.

    The mailboxes have no id, and `paused` is the declared reason. No sentence repeats an address or
    what stands for a password, for it may be one.

    Raises:
        SettingsError: it is no such file at all.
    """
    wanted: list[Mailbox] = []
    wrong: list[str] = []
    places: dict[str, str] = {}
    for number, entry in enumerate(_entries(octets), 1):
        place = f"entry {number}" + _called(entry)
        try:
            mailbox = _mailbox(msgspec.convert(entry, _Declaration))
        except (msgspec.ValidationError, typer.BadParameter) as error:
            wrong.append(f"{place}: {_sentence(error)}")
            continue
        for what, claim in zip(("name", "account"), mailbox.claims, strict=True):
            if (other := places.setdefault(claim, place)) != place:
                wrong.append(f"{place}: it has the {what} of {other}")
        wanted.append(mailbox)
    return wanted, wrong


def _entries(octets: bytes) -> list[Any]:
    content = _content(octets)
    if isinstance(content, dict) and content.keys() == {"mailboxes"}:
        entries = content["mailboxes"]
        if isinstance(entries, list):
            return entries
    raise SettingsError(
        "the file is not one list with the name mailboxes, and nothing else",
        remedy='write {"mailboxes": [...]}, or the same as YAML; [] where there is none',
    )


def _content(octets: bytes) -> object:
    try:
        content = msgspec.json.decode(octets)
        json.loads(octets, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        from ingest.cli.strict_yaml import load  # takes a while to import

        return load(octets)
    return content


def _once(pairs: list[tuple[str, Any]]) -> None:
    """Refuse a key that stands twice: the first of two lists would go unnoticed."""
    if len(pairs) > len(dict(pairs)):
        raise ValueError


def _called(entry: object) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return f" ({name!r})" if isinstance(name, str) and name else ""


def _mailbox(entry: _Declaration) -> Mailbox:
    """The mailbox that an entry means.

    Raises:
        typer.BadParameter: it can't be used.
    """
    for what in ("name", "tenant", "paused"):
        text = getattr(entry, what)
        if not (text.isprintable() and (text.strip() or (what == "paused" and not text))):
            raise typer.BadParameter(f"`{what}` is empty, or has characters that don't print")
    kind, _, where = entry.password.partition(":")
    if not (kind == "env" and where) and not (kind == "file" and Path(where).is_absolute()):
        raise typer.BadParameter("`password` is not where the password is: env:NAME, file:/PATH")
    for what in ("password", "ca_file"):
        if not getattr(entry, what).isprintable():
            raise typer.BadParameter(f"`{what}` has characters that don't print")
    if entry.ca_file and not Path(entry.ca_file).is_absolute():
        raise typer.BadParameter("`ca_file` does not begin with a slash")
    return Mailbox(
        id="",
        name=entry.name,
        tenant=entry.tenant,
        password=entry.password,
        ca_file=entry.ca_file,
        delete=output.choose(" ".join(entry.delete.split()), DeleteRule.parse),
        paused=entry.paused,
        **address.parse(entry.address, plaintext=entry.plaintext)._asdict(),
    )


def _sentence(error: msgspec.ValidationError | typer.BadParameter) -> str:
    if isinstance(error, typer.BadParameter):
        return error.message
    return str(error)[0].lower() + str(error)[1:].replace(" - at `$.", " - at `")
