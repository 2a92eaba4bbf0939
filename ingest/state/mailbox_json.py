"""A mailbox's settings as JSON, which workers of two versions read and write side by side.

What a newer version says of a mailbox and this one does not know stays as it is. Where this version
can't read what is said, it still knows which mailbox that is.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ingest.errors import MailboxUnreadable, SettingsError
from ingest.model import DeleteRule, Mailbox


class _Identity(msgspec.Struct, kw_only=True):
    id: str
    name: str
    tenant: str = "default"
    host: str
    port: int
    username: str


def identity(settings: bytes) -> Mailbox:
    """Which mailbox it is: what every version reads alike, and none of the rest.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    found = msgspec.json.decode(settings, type=_Identity)
    return Mailbox(password="", **msgspec.structs.asdict(found))


def claims(settings: bytes) -> Sequence[str]:
    """Its claims; none where there is no mailbox, or none that can be told."""
    try:
        return identity(settings).claims
    except msgspec.MsgspecError:
        return ()


def decode(mailbox: str, settings: bytes) -> Mailbox:
    """The mailbox of that id.

    Raises:
        MailboxUnreadable: this version can't read it.
    """
    try:
        found = msgspec.json.decode(settings, type=Mailbox)
        DeleteRule.parse(found.delete)
    except (msgspec.MsgspecError, SettingsError) as error:
        raise MailboxUnreadable(
            f"mailbox {_called(mailbox, settings)} has settings that this version can't read: "
            f"{str(error).splitlines()[0]}",
            remedy="a newer version wrote them: upgrade this one",
        ) from None
    return found


def encode(mailbox: Mailbox, seen: bytes) -> bytes:
    """Its JSON. Of what was seen, all stays as it was but for what this change is about."""
    ours = msgspec.json.encode(mailbox)
    if not seen:
        return ours
    before = msgspec.json.decode(seen, type=Mailbox)
    kept = msgspec.json.decode(seen, type=dict[str, msgspec.Raw])
    for name in Mailbox.__struct_fields__:
        if getattr(mailbox, name) != getattr(before, name):
            kept.pop(name, None)
    return msgspec.json.encode(msgspec.json.decode(ours, type=dict[str, msgspec.Raw]) | kept)


def _called(mailbox: str, settings: bytes) -> str:
    try:
        return f"{identity(settings).name!r} ({mailbox})"
    except msgspec.MsgspecError:
        return mailbox
