"""`ingest canary`: mailboxes that get probes, to measure how long mail takes to arrive."""

from __future__ import annotations

import getpass
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ingest.cli import mailbox_settings as settings
from ingest.cli import output, submission
from ingest.cli.application import opened_with_mailboxes
from ingest.cli.sign_in import named
from ingest.errors import RegistryError
from ingest.model import DeleteRule, Mailbox, Submission

if TYPE_CHECKING:
    from ingest.bootstrap import Application

app = typer.Typer(
    help="Mailboxes that get probes, to measure how long mail takes.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="The mailbox's name or id.", show_default=False)]


class Canary(msgspec.Struct, kw_only=True):
    """A canary as `--json` prints it."""

    id: str
    name: str
    host: str  # of its maildrop
    address: str  # where its probes are submitted
    password: str  # env:NAME, file:PATH, "sealed", or empty: none is needed
    sent_at: datetime | None  # the last probe
    home_at: datetime | None  # the last one whose event a sink had
    under_way: int  # probes


@app.command("set")
def set_(
    name: Name,
    url: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS",
            help="smtps://USER@HOST[:PORT]/?to=ADDRESS, or smtp://USER@HOST (STARTTLS is "
            "required). Without USER nobody signs in; from= sets another sender.",
            show_default=False,
        ),
    ],
    *,
    password_ref: Annotated[str, settings.PASSWORD_REF] = "",
    ca_file: Annotated[str, settings.CA_FILE] = "",
    plaintext: Annotated[bool, settings.PLAINTEXT] = False,
    test: Annotated[
        bool, typer.Option(help="Send a probe first; save nothing if that fails.")
    ] = True,
    json: output.Json = False,
) -> None:
    """Make a mailbox a canary: from now on it gets a probe every five minutes.

    The password is asked for, where --password-ref doesn't say where it is.

    Example: ingest canary set probes smtps://probes%40example.org@smtp.example.org

    JSON: the canary.
    """
    with opened_with_mailboxes() as application:
        seen = application.registry.get(name)
        found = submission.parse(url, own=seen.username, plaintext=plaintext)
        found = msgspec.structs.replace(
            found, ca_file=str(Path(ca_file).absolute()) if ca_file else ""
        )
        if plaintext:
            output.say("warning: without encryption, the password can be read on the way")
        if DeleteRule.parse(seen.delete).mode in ("never", "shadow"):
            output.say(f"warning: its rule is {seen.delete}: probes pile up, 288 a day")
        found = _with_password(application, seen, found, password_ref)
        mailbox = msgspec.structs.replace(seen, canary=found)
        application.registry.update(mailbox, seen=seen)  # first: the probe may come home at once
        if test:
            _try(application, mailbox, seen)
            output.say(f"{found.host} took a probe")
        application.canaries.begin(mailbox)
        kept = _shown(application, mailbox, found)
    output.print_outcome(
        kept, f"{kept.name} gets a probe every five minutes from now on", json=json
    )


@app.command("list")
def list_(*, json: output.Json = False) -> None:
    """List the canaries, and when probes were last sent and came home.

    JSON: an array of canaries.
    """
    with opened_with_mailboxes() as application:
        found = [
            _shown(application, mailbox, mailbox.canary)
            for mailbox in application.registry.list()
            if mailbox.canary
        ]
    if json:
        output.print_json(found)
        return
    if not found:
        typer.echo("no canary yet: ingest canary set NAME smtps://USER@HOST/?to=ADDRESS")
        return
    output.print_table(
        ["name", "host", "probes by", "last sent", "last home", "under way"],
        [
            (
                canary.name,
                canary.host,
                canary.address.partition("?")[0],
                output.moment(canary.sent_at) if canary.sent_at else "never",
                output.moment(canary.home_at) if canary.home_at else "never",
                str(canary.under_way),
            )
            for canary in found
        ],
        right=["under way"],
    )


@app.command()
def send(name: Name, *, json: output.Json = False) -> None:
    """Send a canary a probe now; the list shows when it is home.

    JSON: the canary.
    """
    with opened_with_mailboxes() as application:
        mailbox, found = _canary(application, name)
        with named(mailbox):
            application.canaries.send(mailbox)
        kept = _shown(application, mailbox, found)
    output.print_outcome(kept, f"{found.host} took a probe to {mailbox.name}", json=json)


@app.command()
def remove(name: Name, *, json: output.Json = False) -> None:
    """Send a mailbox no more probes; it stays a mailbox.

    Probes that are under way will be taken for mail.

    JSON: the canary.
    """
    with opened_with_mailboxes() as application:
        mailbox, found = _canary(application, name)
        kept = _shown(application, mailbox, found)
        application.registry.update(msgspec.structs.replace(mailbox, canary=None), seen=mailbox)
        application.canaries.drop(mailbox.id)
    output.print_outcome(kept, f"{mailbox.name} gets no more probes", json=json)


def _canary(application: Application, name: str) -> tuple[Mailbox, Submission]:
    mailbox = application.registry.get(name)
    if not mailbox.canary:
        raise RegistryError(
            f"mailbox {mailbox.name!r} is no canary",
            remedy="see which are: ingest canary list",
        )
    return mailbox, mailbox.canary


def _try(application: Application, mailbox: Mailbox, seen: Mailbox) -> None:
    """Send a probe; where that fails, the mailbox is again what was seen.

    Raises:
        IngestError: it failed.
    """
    try:
        with named(mailbox):
            application.canaries.send(mailbox)
    except BaseException:
        application.registry.update(seen, seen=mailbox)
        raise


def _with_password(
    application: Application, mailbox: Mailbox, found: Submission, reference: str
) -> Submission:
    """The submission with where its password is, or with one that is asked for, sealed.

    Raises:
        typer.BadParameter: nobody is there to enter it, or nobody signs in with it.
    """
    if reference and not found.username:
        raise typer.BadParameter("the address names no user to sign in with a password")
    if reference:
        password = settings.reference(reference)
    elif not found.username:
        password = ""
    elif not sys.stdin.isatty():
        raise typer.BadParameter(
            "nobody is at the terminal to enter the password: add --password-ref"
        )
    else:
        typed = getpass.getpass(f"Password of {found.username} at {found.host}: ")
        password = application.keyring.seal(typed, mailbox.id)
    return msgspec.structs.replace(found, password=password)


def _shown(application: Application, mailbox: Mailbox, found: Submission) -> Canary:
    state = application.canary_state
    sent, home = (times.get(mailbox.id) for times in state.times())
    kind = found.password.partition(":")[0]
    return Canary(
        id=mailbox.id,
        name=mailbox.name,
        host=mailbox.host,
        address=submission.address_of(found),
        password="sealed" if kind == "sealed" else found.password,
        sent_at=datetime.fromtimestamp(sent, UTC) if sent else None,
        home_at=datetime.fromtimestamp(home, UTC) if home else None,
        under_way=state.awaited().get(mailbox.id, 0),
    )
