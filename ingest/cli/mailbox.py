"""`ingest mailbox`: which maildrops are polled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ingest.cli import mailbox_apply, output
from ingest.cli import mailbox_settings as settings
from ingest.cli.application import opened_with_mailboxes, workers_missed
from ingest.cli.changes import (
    forget,
    paused_by_hand,
    put_in_place,
    refuse_declared,
    signs_in_alike,
)
from ingest.cli.shown import shown
from ingest.cli.sign_in import named, register, sign_in
from ingest.errors import RegistryError
from ingest.model import Mailbox

if TYPE_CHECKING:
    from ingest.bootstrap import Application
    from ingest.state.secrets import Keyring

app = typer.Typer(help="The mailboxes that are polled.", no_args_is_help=True)
app.command()(mailbox_apply.apply)

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
    password_ref: Annotated[str, settings.PASSWORD_REF] = "",
    delete: Annotated[str, settings.DELETE] = "committed",
    tenant: Annotated[str, settings.TENANT] = "default",
    ca_file: Annotated[str, settings.CA_FILE] = "",
    plaintext: Annotated[bool, settings.PLAINTEXT] = False,
    test: Annotated[bool, settings.TEST] = True,
    yes: output.Yes = False,
    json: output.Json = False,
) -> None:
    """Sign in to a maildrop and, when that works, poll it.

    The password is asked for, where --password-ref doesn't say where it is.

    Example: ingest mailbox add orders pop3s://orders%40example.org@pop.example.org

    JSON: the mailbox.
    """
    fields = settings.checked(
        name=name,
        url=url,
        plaintext=plaintext,
        password_ref=password_ref,
        delete=delete,
        tenant=tenant,
        ca_file=ca_file,
    )
    from ingest.state.registry import new_mailbox_id

    with opened_with_mailboxes() as application:
        _refuse_taken(application, name)
        mailbox = Mailbox(**{"id": new_mailbox_id(), "password": "", **fields})
        if not mailbox.password:
            mailbox = settings.with_password(application, mailbox)
        if test:
            output.say(f"signed in: {sign_in(application, mailbox)}")
            settings.announce(mailbox.delete)
        output.confirm(f"Poll {name} from now on?", yes=yes)
        register(application, mailbox)
        kept, hint = shown(application, mailbox), workers_missed(application)
    output.print_outcome(kept, f"{name} is polled from now on by every worker{hint}", json=json)


@app.command("set")
def set_(
    name: Name,
    *,
    url: Annotated[
        str | None,
        typer.Option("--address", metavar="ADDRESS", help="Where its maildrop is, as for add."),
    ] = None,
    password: Annotated[bool, typer.Option("--password", help="Ask for a new password.")] = False,
    password_ref: Annotated[str, settings.PASSWORD_REF] = "",
    delete: Annotated[str | None, settings.DELETE] = None,
    tenant: Annotated[str | None, settings.TENANT] = None,
    rename: Annotated[
        str | None, typer.Option(metavar="NEW", help="What you will call it.")
    ] = None,
    ca_file: Annotated[str | None, settings.CA_FILE] = None,
    plaintext: Annotated[bool, settings.PLAINTEXT] = False,
    test: Annotated[bool, settings.TEST] = True,
    force: Annotated[bool, settings.FORCE] = False,
    yes: output.Yes = False,
    json: output.Json = False,
) -> None:
    """Change a mailbox; what is stored of it stays known.

    What is not given stays as it is. Where the change is about signing in, that must work first.
    A session that runs is dropped. --ca-file "" trusts the system's authorities again.

    Example: ingest mailbox set orders --password

    JSON: the mailbox.
    """
    if password and password_ref:
        raise typer.BadParameter("--password asks for it, --password-ref says where it is: use one")
    fields = settings.checked(
        name=rename,
        url=url,
        plaintext=plaintext,
        password_ref=password_ref,
        delete=delete,
        tenant=tenant,
        ca_file=ca_file,
    )
    if not fields and not password:
        raise typer.BadParameter("say what to change")
    with opened_with_mailboxes() as application:
        seen = application.registry.get(name)
        refuse_declared(seen, force=force)
        mailbox = msgspec.structs.replace(seen, **fields)
        if password:
            mailbox = settings.with_password(application, mailbox)
        if test and not signs_in_alike(mailbox, seen):
            output.say(f"signed in: {sign_in(application, mailbox)}")
        if url is not None or delete is not None:
            settings.announce(mailbox.delete, before=seen.delete)
            output.confirm(f"Change {seen.name}?", yes=yes)
        put_in_place(application, mailbox, seen)
        kept = shown(application, mailbox)
    if json:
        output.print_json(kept)
    else:
        paused = f", and still paused: {mailbox.paused}" if mailbox.paused else ""
        typer.echo(f"{mailbox.name} is changed{paused}")


@app.command("list")
def list_(*, json: output.Json = False) -> None:
    """List the mailboxes. Those that this version can't read are named on standard error.

    JSON: an array of mailboxes.
    """
    with opened_with_mailboxes() as application:
        mailboxes = [shown(application, mailbox) for mailbox in application.registry.list()]
        for error in application.registry.unreadable():
            output.print_error(error)
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
            ("canary", mailbox.canary or "no"),
            ("settings", f"declared in {mailbox.source}" if mailbox.source else "kept here"),
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
    output.print_outcome(waiting._asdict(), f"signed in: {waiting}", json=json)


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

    One that is no longer declared (mailbox apply) is kept by commands from then on. JSON: the
    mailbox.
    """
    _set_paused(name, "", json=json)


@app.command()
def remove(
    name: Name,
    *,
    force: Annotated[bool, settings.FORCE] = False,
    yes: output.Yes = False,
    json: output.Json = False,
) -> None:
    """Forget a mailbox; what is stored of it stays.

    JSON: the mailbox.
    """
    with opened_with_mailboxes() as application:
        mailbox = application.registry.get(name)
        refuse_declared(mailbox, force=force)
        forgotten = shown(application, mailbox)
        output.confirm(f"Forget {mailbox.name} ({forgotten.address})?", yes=yes)
        forget(application, mailbox)
    output.print_outcome(
        forgotten,
        f"{mailbox.name} is forgotten; its stored messages stay where they are",
        json=json,
    )


@app.command()
def reseal(*, json: output.Json = False) -> None:
    """Seal all passwords anew with the first key, so that no other key is needed.

    To change keys: put the new one behind the old one, wherever mail-ingest runs, so that all can
    open what it will seal; then before it; reseal; drop the old one.
    A mailbox whose password no key opens is named. JSON: {"resealed": 2}.
    """
    failure: RegistryError | None = None
    resealed = 0
    with opened_with_mailboxes() as application:
        for failure in application.registry.unreadable():
            output.print_error(failure)
        for mailbox in application.registry.list():
            try:
                with named(mailbox):
                    changed = _resealed(application.keyring, mailbox)
                    if changed != mailbox:
                        application.registry.update(changed, seen=mailbox)
                        resealed += changed.password != mailbox.password
                        resealed += changed.canary != mailbox.canary
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


def _resealed(keyring: Keyring, mailbox: Mailbox) -> Mailbox:
    canary = mailbox.canary
    if canary:
        password = keyring.rotate(canary.password, mailbox.id)
        canary = msgspec.structs.replace(canary, password=password)
    password = keyring.rotate(mailbox.password, mailbox.id)
    return msgspec.structs.replace(mailbox, password=password, canary=canary)


def _set_paused(name: str, reason: str, *, json: bool) -> None:
    with opened_with_mailboxes() as application:
        seen = application.registry.get(name)
        changed = paused_by_hand(seen, reason)
        mailbox = application.registry.update(changed, seen=seen)
        if reason:
            application.schedule.unschedule(mailbox.id, mailbox.group)
        else:
            application.schedule.schedule(mailbox, 0)
        kept = shown(application, mailbox)
    output.print_outcome(
        kept, f"{mailbox.name} is {'paused: ' + reason if reason else 'polled again'}", json=json
    )


def _refuse_taken(application: Application, name: str) -> None:
    """So that nobody types a password in vain; the registry checks it again.

    Raises:
        RegistryError: the name is taken.
    """
    if any(name.casefold() == mailbox.name.casefold() for mailbox in application.registry.list()):
        raise RegistryError(
            f"there is a mailbox {name!r} already",
            remedy=f"choose another name, or change that one: ingest mailbox set {name}",
        )
