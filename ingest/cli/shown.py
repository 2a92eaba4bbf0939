"""A mailbox as people see it: where it is, and how it is doing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from ingest.cli import output, submission
from ingest.intake.policy import Standing
from ingest.model import Mailbox

if TYPE_CHECKING:
    from ingest.bootstrap import Application

# Codes of failures that are none of the mailbox's: we ended the session, or held none.
_NO_FAILURE = frozenset({"stopped", "paused"})


class Shown(msgspec.Struct, kw_only=True):
    """A mailbox as `--json` prints it: without its password, but with where that is."""

    id: str
    name: str
    tenant: str
    address: str
    host: str
    port: int
    tls: str
    username: str
    password: str  # env:NAME, file:PATH or "sealed"
    delete: str
    paused: str
    source: str  # the declarations that keep it; empty: people do, with `ingest mailbox`
    ca_file: str
    canary: str  # where its probes are submitted; empty: it is no canary
    state: str  # in words
    polled_at: datetime | None  # end of the last session
    failures: int  # sessions in a row; our own failures, of Redis say, don't count
    error: str  # code of the last session's failure; empty: it went well


def shown(application: Application, mailbox: Mailbox) -> Shown:
    """What is known of a mailbox."""
    standing = standing_of(application, mailbox)
    facts = msgspec.structs.asdict(mailbox) | {
        "password": password_place(mailbox),
        "canary": submission.address_of(mailbox.canary) if mailbox.canary else "",
    }
    return Shown(
        address=address_of(mailbox),
        state=_state(application, mailbox, standing),
        polled_at=polled_at(standing),
        failures=standing.failures,
        error=standing.error,
        **facts,
    )


def standing_of(application: Application, mailbox: Mailbox) -> Standing:
    """How the mailbox was doing at the end of its last session."""
    kept = application.schedule.standing(mailbox.id)
    try:
        return msgspec.json.decode(kept or b"{}", type=Standing)
    except msgspec.DecodeError:  # the next session writes it anew
        return Standing()


def polled_at(standing: Standing) -> datetime | None:
    """When the last session ended; None: there was none."""
    return datetime.fromtimestamp(standing.polled_at, UTC) if standing.polled_at else None


def failure(mailbox: Mailbox, standing: Standing) -> str:
    """What the last session failed of, in words for people; empty: of nothing."""
    if not standing.error or standing.error in _NO_FAILURE:
        return ""
    times = f" {standing.failures} times in a row" if standing.failures > 1 else ""
    return f"failed{times}: {_named(mailbox, standing.message)}"


def pause(mailbox: Mailbox) -> str:
    """That it is paused, and why."""
    return f"paused: {_named(mailbox, mailbox.paused)}"


def address_of(mailbox: Mailbox) -> str:
    """Its address as `mailbox add` takes it."""
    scheme = "pop3s" if mailbox.tls == "implicit" else "pop3"
    usual = 995 if mailbox.tls == "implicit" else 110
    host = f"[{mailbox.host}]" if ":" in mailbox.host else mailbox.host
    port = "" if mailbox.port == usual else f":{mailbox.port}"
    return f"{scheme}://{quote(mailbox.username, safe='')}@{host}{port}"


def password_place(mailbox: Mailbox) -> str:
    """Where its password is, and never what."""
    kind, _, _ = mailbox.password.partition(":")
    return mailbox.password if kind in ("env", "file") else "sealed"


def _state(application: Application, mailbox: Mailbox, standing: Standing) -> str:
    if mailbox.paused:
        return pause(mailbox)
    if application.schedule.leased_until(mailbox):
        return "in a session"
    if failed := failure(mailbox, standing):
        return failed
    ended = polled_at(standing)
    return f"polled {output.moment(ended)}" if ended else "not polled yet"


def _named(mailbox: Mailbox, text: str) -> str:
    """The text with the mailbox's name for its id, which is for logs."""
    return text.replace(mailbox.id, repr(mailbox.name))
