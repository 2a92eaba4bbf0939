"""What every change of a mailbox needs, whoever makes it: registry and schedule agree after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from ingest.cli.difference import is_paused_by_declaration, is_undeclared
from ingest.errors import RegistryError
from ingest.model import Mailbox

if TYPE_CHECKING:
    from ingest.bootstrap import Application

_SIGNING_IN: Final = ("host", "port", "tls", "username", "password", "ca_file")


def refuse_declared(mailbox: Mailbox, *, force: bool) -> None:
    """Refuse to change by hand what declarations keep.

    Raises:
        RegistryError: they do, and nobody forces it.
    """
    if mailbox.source and not is_undeclared(mailbox) and not force:
        raise RegistryError(
            f"the settings of mailbox {mailbox.name!r} are declared in {mailbox.source!r}",
            remedy="change them there; --force changes them here, until they are applied again",
        )


def paused_by_hand(seen: Mailbox, reason: str) -> Mailbox:
    """The mailbox paused for that reason, or resumed if it is empty.

    One that is no longer declared is kept by hand from then on.

    Raises:
        RegistryError: it is to be resumed, but declared as paused.
    """
    if not reason and is_paused_by_declaration(seen):
        raise RegistryError(
            f"mailbox {seen.name!r} is paused where it is declared, in {seen.source!r}",
            remedy="take `paused` out there, and apply it again",
        )
    source = "" if is_undeclared(seen) else seen.source
    return msgspec.structs.replace(seen, paused=reason, source=source)


def signs_in_alike(mailbox: Mailbox, seen: Mailbox) -> bool:
    """Whether nothing differs that matters for signing in."""
    return all(getattr(mailbox, field) == getattr(seen, field) for field in _SIGNING_IN)


def put_in_place(
    application: Application, mailbox: Mailbox, seen: Mailbox, due_in: float = 0
) -> None:
    """Keep the mailbox as it shall be; it is due in so many seconds, in the group it now has.

    Raises:
        RegistryError: it was changed or removed since; or another one has its name or account.
    """
    application.registry.update(mailbox, seen=seen)
    if msgspec.structs.replace(mailbox, name=seen.name, source=seen.source) == seen:
        return  # a session doesn't mind
    application.schedule.unschedule(seen.id, seen.group)
    if not mailbox.paused:
        application.schedule.schedule(mailbox, due_in)


def forget(application: Application, mailbox: Mailbox) -> None:
    """Forget a mailbox, and what Redis knows of it; what is stored of it stays.

    Args:
        application: the parts.
        mailbox: as the caller found it.

    Raises:
        RegistryError: it was changed or removed since.
    """
    application.registry.remove(mailbox)
    application.schedule.unschedule(mailbox.id, mailbox.group)
    application.ledger.drop(mailbox.id)
    application.canaries.drop(mailbox.id)
