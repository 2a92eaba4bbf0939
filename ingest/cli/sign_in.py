"""Signing in to a maildrop by hand, and taking a mailbox in."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from ingest.cli import output
from ingest.errors import IngestError
from ingest.model import Mailbox

if TYPE_CHECKING:
    from ingest.bootstrap import Application


class Waiting(NamedTuple):
    """What a test session found."""

    messages: int
    octets: int

    def __str__(self) -> str:
        """In words."""
        if not self.messages:
            return "no message waits"
        verb = "waits" if self.messages == 1 else "wait"
        return f"{output.counted(self.messages, 'message')} ({output.octets(self.octets)}) {verb}"


class _Unhurried:
    """The `Stop` of a session that nothing but its deadlines ends."""

    closing = False

    def check(self) -> None:
        """Go on."""


def register(application: Application, mailbox: Mailbox) -> None:
    """Keep a new mailbox; it is due at once.

    Raises:
        RegistryError: another mailbox has its name or its account.
    """
    application.registry.add(mailbox)
    application.schedule.schedule(mailbox, 0)


def sign_in(application: Application, mailbox: Mailbox) -> Waiting:
    """Sign in, count, and leave without touching anything.

    Raises:
        SessionError: it did not work.
    """
    with named(mailbox):
        maildrop = application.open_maildrop(mailbox, _Unhurried())
        try:
            listing = maildrop.listing()
            maildrop.quit()
        finally:
            maildrop.drop()
    return Waiting(len(listing), sum(listed.octets for listed in listing))


@contextmanager
def named(mailbox: Mailbox) -> Iterator[None]:
    """Let errors name the mailbox as people do: its id is for logs."""
    try:
        yield
    except IngestError as error:
        error.args = (str(error).replace(mailbox.id, repr(mailbox.name)),)
        error.remedy = error.remedy.replace(mailbox.id, shlex.quote(mailbox.name))
        raise
