"""A mailbox's settings as people enter them: the options, what is refused, what is asked for."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from ingest.cli import address, output
from ingest.model import DeleteRule, Mailbox

if TYPE_CHECKING:
    from ingest.bootstrap import Application

PASSWORD_REF = typer.Option(metavar="REF", help="Where the password is: env:NAME or file:PATH.")
DELETE = typer.Option(metavar="RULE", help='committed, published, "after 7d", never or shadow.')
TENANT = typer.Option(help="Whose it is.")
CA_FILE = typer.Option(metavar="PEM", help="Trust these authorities, not the system's.")
PLAINTEXT = typer.Option("--plaintext", help="No encryption: anybody on the way reads along.")
TEST = typer.Option(help="Sign in first; save nothing if that fails.")
FORCE = typer.Option("--force", help="Even if it is declared elsewhere (mailbox apply).")


def checked(
    *,
    name: str | None,
    url: str | None,
    plaintext: bool,
    password_ref: str,
    delete: str | None,
    tenant: str | None,
    ca_file: str | None,
) -> dict[str, Any]:
    """The settings that are given, by the fields of `Mailbox`; what is None is not given.

    Raises:
        typer.BadParameter: one can't be used.
    """
    if plaintext and url is None:
        raise typer.BadParameter("--plaintext is about an address: add --address")
    for what, text in (("name", name), ("tenant", tenant)):
        if text is not None and not (text.strip() and text.isprintable()):
            raise typer.BadParameter(f"the {what} is empty, or has characters that don't print")
    fields = {
        "name": name,
        "tenant": tenant,
        "password": reference(password_ref) if password_ref else None,
        "ca_file": str(Path(ca_file).absolute()) if ca_file else ca_file,
    }
    if url is not None:
        fields |= address.parse(url, plaintext=plaintext)._asdict()
    if delete is not None:
        fields["delete"] = output.choose(" ".join(delete.split()), DeleteRule.parse)
    if plaintext:
        output.say("warning: without encryption, the password and all mail can be read on the way")
    return {field: value for field, value in fields.items() if value is not None}


def with_password(application: Application, mailbox: Mailbox) -> Mailbox:
    """The mailbox with a password that is asked for, sealed.

    Raises:
        typer.BadParameter: nobody is there to enter it.
    """
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            "nobody is at the terminal to enter the password: add --password-ref"
        )
    password = getpass.getpass(f"Password of {mailbox.username} at {mailbox.host}: ")
    sealed = application.keyring.seal(password, mailbox.id)
    return msgspec.structs.replace(mailbox, password=sealed)


def announce(rule: str, before: str = "") -> None:
    """Say what the delete rule means for the mail, also for what another rule left there before."""
    output.say(_meaning(DeleteRule.parse(rule)))
    if before in ("", rule):
        return
    if before == "shadow":
        output.say("What was rehearsed is ingested anew, for real.")
    elif rule not in ("never", "shadow"):
        output.say("That goes for messages that were stored before, too.")


def _meaning(rule: DeleteRule) -> str:
    match rule.mode:
        case "committed":
            return "Messages WILL BE DELETED from the server once they are stored."
        case "after":
            span = str(rule).removeprefix("after ")
            return f"Messages WILL BE DELETED from the server {span} after they are stored."
        case "published":
            return "Messages WILL BE DELETED from the server once their events are accepted."
        case "never":
            return "Messages stay on the server."
        case "shadow":
            return "Messages stay on the server, and their events are marked as a rehearsal."


def reference(given: str) -> str:
    """Where the password is, wherever the worker runs."""
    kind, _, place = given.partition(":")
    if kind not in {"env", "file"} or not place:
        raise typer.BadParameter("--password-ref is env:NAME or file:PATH")
    return f"file:{Path(place).absolute()}" if kind == "file" else given
