"""`ingest mailbox`: which maildrops are polled."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ingest.cli import address, output
from ingest.cli.application import opened_with_mailboxes
from ingest.cli.shown import shown
from ingest.cli.sign_in import Waiting, named, register, sign_in
from ingest.errors import RegistryError
from ingest.model import DeleteRule, Mailbox

if TYPE_CHECKING:
    from ingest.bootstrap import Application

app = typer.Typer(help="The mailboxes that are polled.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The mailbox's name or id.", show_default=False)]


_ENCRYPTION = {
    "implicit": "TLS",
    "starttls": "TLS, by STLS",
    "none": "none: anybody on the way reads along",
}


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What you will call it.", show_default=False)],
    url: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS",
            help="pop3s://USER@HOST[:PORT], or pop3://USER@HOST (STLS is required).",
            show_default=False,
        ),
    ],
    *,
    password_ref: Annotated[
        str,
        typer.Option(
            metavar="REF", help="Where the password is: env:NAME or file:PATH. Else: asked for."
        ),
    ] = "",
    delete: Annotated[
        str, typer.Option(metavar="RULE", help='committed, published, "after 7d", never or shadow.')
    ] = "committed",
    tenant: Annotated[str, typer.Option(help="Whose it is.")] = "default",
    ca_file: Annotated[
        str, typer.Option(metavar="PEM", help="Trust these authorities, not the system's.")
    ] = "",
    plaintext: Annotated[
        bool, typer.Option("--plaintext", help="No encryption: anybody on the way reads along.")
    ] = False,
    test: Annotated[bool, typer.Option(help="Sign in first; save nothing if that fails.")] = True,
    yes: output.Yes = False,
    json: output.Json = False,
) -> None:
    """Sign in to a maildrop and, when that works, poll it.

    Example: ingest mailbox add orders pop3s://orders%40example.org@pop.example.org

    JSON: the mailbox.
    """
    _refuse_unusable(name, tenant, password_ref)
    where = address.parse(url, plaintext=plaintext)
    rule = output.choose(" ".join(delete.split()), DeleteRule.parse)
    if plaintext:
        output.say("warning: without encryption, the password and all mail can be read on the way")
    from ingest.state.registry import new_mailbox_id

    with opened_with_mailboxes() as application:
        mailbox = Mailbox(
            id=new_mailbox_id(),
            name=name,
            tenant=tenant,
            **where._asdict(),
            password="",
            ca_file=str(Path(ca_file).absolute()) if ca_file else "",
            delete=rule,
        )
        _refuse_taken(application, name)
        reference = _reference(application, mailbox, password_ref)
        mailbox = msgspec.structs.replace(mailbox, password=reference)
        if test:
            _announce(mailbox, sign_in(application, mailbox))
        output.confirm(f"Poll {name} from now on?", yes=yes)
        register(application, mailbox)
        kept = shown(application, mailbox)
    if json:
        output.print_json(kept)
    else:
        typer.echo(f"{name} is polled from now on by every worker (ingest up starts one)")


@app.command("list")
def list_(*, json: output.Json = False) -> None:
    """List the mailboxes.

    JSON: an array of mailboxes.
    """
    with opened_with_mailboxes() as application:
        mailboxes = [shown(application, mailbox) for mailbox in application.registry.list()]
    if json:
        output.print_json(mailboxes)
        return
    if not mailboxes:
        typer.echo("no mailbox yet: ingest mailbox add NAME pop3s://USER@HOST")
        return
    output.print_table(
        ["name", "address", "tenant", "delete", "state"],
        [
            (mailbox.name, mailbox.address, mailbox.tenant, mailbox.delete, mailbox.state)
            for mailbox in mailboxes
        ],
        wrapped=["state"],
    )


@app.command()
def show(name: Name, *, json: output.Json = False) -> None:
    """Show one mailbox.

    JSON: the mailbox.
    """
    with opened_with_mailboxes() as application:
        mailbox = shown(application, application.registry.get(name))
    if json:
        output.print_json(mailbox)
        return
    output.print_facts(
        [
            ("name", mailbox.name),
            ("id", mailbox.id),
            ("tenant", mailbox.tenant),
            ("address", mailbox.address),
            ("encryption", _ENCRYPTION[mailbox.tls]),
            ("authorities", mailbox.ca_file or "the system's"),
            ("password", mailbox.password),
            ("delete", mailbox.delete),
            ("last session", output.moment(mailbox.polled_at) if mailbox.polled_at else "none yet"),
            ("state", mailbox.state),
        ]
    )


@app.command("test")
def sign_in_once(name: Name, *, json: output.Json = False) -> None:
    """Sign in, count what waits, and leave.

    JSON: {"messages": 1, "octets": 1234}.
    """
    with opened_with_mailboxes() as application:
        waiting = sign_in(application, application.registry.get(name))
    if json:
        output.print_json(waiting._asdict())
    else:
        typer.echo(f"signed in: {_amount(waiting)}")


@app.command()
def pause(
    name: Name,
    *,
    reason: Annotated[str, typer.Option(help="Why; shown wherever the mailbox is.")] = "by hand",
    json: output.Json = False,
) -> None:
    """Stop polling a mailbox until it is resumed.

    A session that runs is dropped. JSON: the mailbox.
    """
    _set_paused(name, reason or "by hand", json=json)


@app.command()
def resume(name: Name, *, json: output.Json = False) -> None:
    """Poll a paused mailbox again.

    JSON: the mailbox.
    """
    _set_paused(name, "", json=json)


@app.command()
def remove(name: Name, *, yes: output.Yes = False, json: output.Json = False) -> None:
    """Forget a mailbox; what is stored of it stays.

    JSON: the mailbox.
    """
    with opened_with_mailboxes() as application:
        mailbox = application.registry.get(name)
        forgotten = shown(application, mailbox)
        output.confirm(f"Forget {mailbox.name} ({forgotten.address})?", yes=yes)
        application.registry.remove(mailbox.id)
        application.schedule.unschedule(mailbox.id, mailbox.group)
        application.ledger.drop(mailbox.id)
    if json:
        output.print_json(forgotten)
    else:
        typer.echo(f"{mailbox.name} is forgotten; its stored messages stay where they are")


@app.command()
def reseal(*, json: output.Json = False) -> None:
    """Seal all passwords anew with the first key, so that no other key is needed.

    To change keys: put the new one first, wherever mail-ingest runs; reseal; drop the old ones.
    A mailbox whose password no key opens is named. JSON: {"resealed": 2}.
    """
    failure: RegistryError | None = None
    resealed = 0
    with opened_with_mailboxes() as application:
        for mailbox in application.registry.list():
            try:
                with named(mailbox):
                    password = application.keyring.rotate(mailbox.password, mailbox.id)
                    if password != mailbox.password:
                        changed = msgspec.structs.replace(mailbox, password=password)
                        application.registry.update(changed, seen=mailbox)
                        resealed += 1
            except RegistryError as error:
                output.print_error(error)
                failure = error
    if json:
        output.print_json({"resealed": resealed})
    else:
        passwords = output.counted(resealed, "password is", "passwords are")
        typer.echo(f"{passwords} sealed with the first key")
    if failure:
        raise typer.Exit(failure.exit_code)


def _set_paused(name: str, reason: str, *, json: bool) -> None:
    with opened_with_mailboxes() as application:
        seen = application.registry.get(name)
        changed = msgspec.structs.replace(seen, paused=reason)
        mailbox = application.registry.update(changed, seen=seen)
        if reason:
            application.schedule.unschedule(mailbox.id, mailbox.group)
        else:
            application.schedule.schedule(mailbox, 0)
        kept = shown(application, mailbox)
    if json:
        output.print_json(kept)
    else:
        typer.echo(f"{mailbox.name} is {'paused: ' + reason if reason else 'polled again'}")


def _refuse_unusable(name: str, tenant: str, password_ref: str) -> None:
    for what, text in (("name", name), ("tenant", tenant)):
        if not text.strip() or not text.isprintable():
            raise typer.BadParameter(f"the {what} is empty, or has characters that don't print")
    kind, _, place = password_ref.partition(":")
    if password_ref and not (kind in {"env", "file"} and place):
        raise typer.BadParameter("--password-ref is env:NAME or file:PATH")


def _refuse_taken(application: Application, name: str) -> None:
    """So that nobody types a password in vain; the registry checks it again.

    Raises:
        RegistryError: the name is taken.
    """
    if any(name.casefold() == mailbox.name.casefold() for mailbox in application.registry.list()):
        raise RegistryError(
            f"there is a mailbox {name!r} already",
            remedy=f"choose another name, or: ingest mailbox remove {name}",
        )


def _reference(application: Application, mailbox: Mailbox, given: str) -> str:
    """Where the password is: the reference given, or a sealed one that is asked for."""
    if given:
        kind, _, place = given.partition(":")
        return f"file:{Path(place).absolute()}" if kind == "file" else given
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            "nobody is at the terminal to enter the password: add --password-ref"
        )
    password = getpass.getpass(f"Password of {mailbox.username} at {mailbox.host}: ")
    return application.keyring.seal(password, mailbox.id)


def _announce(mailbox: Mailbox, waiting: Waiting) -> None:
    output.say(f"signed in: {_amount(waiting)}")
    rule = DeleteRule.parse(mailbox.delete)
    match rule.mode:
        case "committed":
            output.say("Messages WILL BE DELETED from the server once they are stored.")
        case "after":
            span = str(rule).removeprefix("after ")
            output.say(f"Messages WILL BE DELETED from the server {span} after they are stored.")
        case "published":
            output.say("Messages WILL BE DELETED from the server once their events are accepted.")
        case "never":
            output.say("Messages stay on the server.")
        case "shadow":
            output.say("Messages stay on the server, and their events are marked as a rehearsal.")


def _amount(waiting: Waiting) -> str:
    if not waiting.messages:
        return "no message waits"
    verb = "waits" if waiting.messages == 1 else "wait"
    messages = output.counted(waiting.messages, "message")
    return f"{messages} ({output.octets(waiting.octets)}) {verb}"
