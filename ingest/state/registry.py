"""The configured mailboxes: in the object store, where they last, and in Redis, to find them.

The store is written first, so that Redis never knows a mailbox that would be lost with it. In Redis
a hash has the mailboxes and another one has the claims, a name and an account each, that no two
mailboxes may share. Of changes at the same time Redis decides which one stands: it takes a change
only of what the caller saw, and who was too late gives the store back what Redis knows.

Workers of two versions may be at work: a mailbox that this one can't read is said, and left to the
others.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec
import structlog
from redis import Redis

from ingest.errors import MailboxUnreadable, ObjectMissing, RegistryError
from ingest.intake.ports import ObjectStore
from ingest.model import Mailbox, name_claim
from ingest.state import mailbox_json
from ingest.state.commands import CHUNK, PREFIX, Ahead, Commands, text

log = structlog.get_logger()

_FOLDER: Final = "mailboxes/"
_SETTINGS_OCTETS_MAX: Final = 256 * 1024  # of one mailbox


class Restored(NamedTuple):
    """What `restore` changed in Redis."""

    removed: Sequence[Mailbox]  # with no more than their identity
    refused: Sequence[str]  # one sentence for each object that is no mailbox, or is one twice


def new_mailbox_id() -> str:
    """A new mailbox id: random, so that it says nothing about the account."""
    return "mb-" + base64.b32encode(secrets.token_bytes(10)).decode().lower()


class Registry:
    """The mailboxes. Raises StateError and StoreError where Redis or the store fails."""

    def __init__(self, client: Redis, store: ObjectStore, prefix: str = PREFIX) -> None:
        self._redis = Commands(client, prefix)
        self._store = store
        self._mailboxes = self._redis.key("mailboxes")
        self._claims = self._redis.key("mailbox-claims")

    def add(self, mailbox: Mailbox) -> Mailbox:
        """Keep a new mailbox, whose id comes from `new_mailbox_id`.

        Raises:
            RegistryError: another mailbox has its name or its account.
        """
        if self._redis.run("HEXISTS", self._mailboxes, mailbox.id):
            raise RegistryError(f"mailbox {mailbox.id} exists", remedy="give it a new id")
        return self._keep(mailbox, b"")

    def update(self, mailbox: Mailbox, *, seen: Mailbox) -> Mailbox:
        """Keep a changed mailbox.

        Args:
            mailbox: as it shall be.
            seen: as the caller found it.

        Raises:
            RegistryError: it was changed or removed since; or another one has its name or account.
        """
        return self._keep(mailbox, self._unchanged(seen))

    def get(self, name_or_id: str) -> Mailbox:
        """One mailbox.

        Raises:
            MailboxUnreadable: this version can't read it.
            RegistryError: there is none of that name or id.
        """
        mailbox = name_or_id
        seen = self._known(mailbox)
        if not seen:
            found: bytes | None = self._redis.run("HGET", self._claims, name_claim(name_or_id))
            mailbox = text(found) if found else name_or_id
            seen = self._seen(mailbox)
        return mailbox_json.decode(mailbox, seen)

    def list(self) -> Sequence[Mailbox]:
        """All mailboxes but the unreadable ones, which are logged, in the order of their names."""
        mailboxes, unreadable = self._read_all()
        for mailbox, error in unreadable.items():
            log.error("mailbox_unreadable", mailbox=mailbox, reason=str(error), remedy=error.remedy)
        return sorted(mailboxes, key=lambda mailbox: (mailbox.name, mailbox.id))

    def unreadable(self) -> Collection[MailboxUnreadable]:
        """Why this version can't read some mailboxes, for each of them."""
        return self._read_all()[1].values()

    def ids(self) -> Collection[str]:
        """The ids of all mailboxes, also of those that this version can't read."""
        return self._all().keys()

    def is_stored(self, mailbox: str) -> bool:
        """Whether the store has settings under that id, readable or not."""
        try:
            self._store.size(_key(mailbox))
        except ObjectMissing:
            return False
        return True

    def remove(self, seen: Mailbox) -> None:
        """Forget a mailbox: its settings, not what was committed of it.

        Args:
            seen: as the caller found it.

        Raises:
            RegistryError: it was changed or removed since.
        """
        kept = self._unchanged(seen)
        self._store.delete([_key(seen.id)])
        if not self._register(seen.id, kept, b""):
            self._undo(seen.id, kept)
            raise _outrun(seen)
        self._store.delete([_key(seen.id)])  # a change between the two may have put it again

    def restore(self, going_on: Callable[[], None] = lambda: None, ahead: Ahead = map) -> Restored:
        """Make Redis know exactly the mailboxes that the store has.

        Args:
            going_on: called after each; where it raises, that is the end.
            ahead: how they are read.
        """
        listed: list[str] = []
        for item in self._store.list(_FOLDER):
            going_on()
            listed.append(item.key)
        # First, what has been removed: another one may have its name or account since.
        removed = self._forget_all_but(set(listed), going_on)
        refused, tried = dict.fromkeys(listed, ""), 0
        while refused and len(refused) != tried:  # what one gives up, another one may have
            tried = len(refused)
            refused = self._take_in_all(refused, going_on, ahead)
        return Restored(removed, [*refused.values()])

    def _forget_all_but(
        self, listed: Collection[str], going_on: Callable[[], None]
    ) -> Sequence[Mailbox]:
        """Let Redis know no mailbox that the store lacks; those it knew."""
        removed: list[Mailbox] = []
        for known in self.ids():
            going_on()
            if _key(known) not in listed and not self.is_stored(known):
                removed.extend(self._forget(known))
        return removed

    def _take_in_all(
        self, listed: Iterable[str], going_on: Callable[[], None], ahead: Ahead
    ) -> dict[str, str]:
        """Let Redis know these mailboxes; the keys of those that are refused, and why."""
        refused: dict[str, str] = {}
        for key, refusal in zip(listed, ahead(self._taken_in, listed), strict=True):
            going_on()
            if refusal:
                refused[key] = refusal
        return refused

    def _keep(self, mailbox: Mailbox, seen: bytes) -> Mailbox:
        self._refuse_taken(mailbox)
        settings = mailbox_json.encode(mailbox, seen)
        self._store.put(_key(mailbox.id), settings)
        try:
            if not self._register(mailbox.id, seen, settings):
                raise _outrun(mailbox)
        except RegistryError:  # another one was quicker
            self._undo(mailbox.id, seen)
            raise
        return mailbox

    def _undo(self, mailbox: str, seen: bytes) -> None:
        """Give the store what Redis knows of the mailbox, also where that changes meanwhile.

        A Redis that just lost its data did not remove what was seen.
        """
        given: bytes | None = None
        while given != (known := self._known(mailbox) or (seen if self._lost() else b"")):
            if known:
                self._store.put(_key(mailbox), known)
            else:
                self._store.delete([_key(mailbox)])
            given = known

    def _lost(self) -> bool:
        return not self._redis.run("EXISTS", self._redis.key("epoch"))

    def _taken_in(self, key: str) -> str:
        """Let Redis know a mailbox as the store has it; why it is refused, if it is."""
        try:
            self._take_in(key)
        except ObjectMissing:
            return ""  # removed since it was listed
        except (RegistryError, msgspec.MsgspecError) as error:
            return f"{key}: {str(error).splitlines()[0]}"
        return ""

    def _take_in(self, key: str) -> None:
        """Let Redis know a mailbox as the store has it.

        Asked for before the store is read: what is written meanwhile is newer.
        """
        while True:
            seen = self._known(key.removeprefix(_FOLDER).removesuffix(".json"))
            mailbox, settings = self._read(key)
            if seen == settings or self._register(mailbox.id, seen, settings):
                return

    def _register(self, mailbox: str, seen: bytes, settings: bytes) -> bool:
        """Let Redis know the mailbox, if what it knew is what was seen; False: it is not.

        Args:
            mailbox: its id.
            seen: its JSON that Redis knew; empty: it knew none.
            settings: its JSON that Redis shall know; empty: it shall know none.

        Raises:
            RegistryError: another one has its name or its account.
        """
        old, new = mailbox_json.claims(seen), mailbox_json.claims(settings)
        answer = self._redis.call(
            "register",
            [self._mailboxes, self._claims],
            [mailbox, seen, settings, len(old), *old, *new],
        )
        if len(answer) > 1:
            raise self._taken(mailbox_json.identity(settings), text(answer[0]), text(answer[1]))
        return bool(answer[0] == b"done")

    def _forget(self, mailbox: str) -> Sequence[Mailbox]:
        """Let Redis know the mailbox no more; what it was, if that can be read."""
        forgotten: Sequence[Mailbox] = ()
        while seen := self._known(mailbox):
            with suppress(msgspec.MsgspecError):
                forgotten = [mailbox_json.identity(seen)]
            self._register(mailbox, seen, b"")
        return forgotten

    def _refuse_taken(self, mailbox: Mailbox) -> None:
        wanted = mailbox.claims
        owners = self._redis.run("HMGET", self._claims, *wanted)
        for claim, owner in zip(wanted, owners, strict=True):
            if owner and text(owner) != mailbox.id:
                raise self._taken(mailbox, claim, text(owner))

    def _taken(self, mailbox: Mailbox, claim: str, owner: str) -> RegistryError:
        name = owner
        with suppress(msgspec.MsgspecError):  # it is removed, or damaged
            name = mailbox_json.identity(self._known(owner)).name
        what = "the name" if claim == name_claim(mailbox.name) else "the account"
        return RegistryError(
            f"mailbox {name!r} ({owner}) has {what} of the mailbox {mailbox.name!r} already",
            remedy=f"change {name!r}, or remove it first",
        )

    def _all(self) -> Mapping[str, bytes]:
        """The JSON of all mailboxes that Redis knows, by their ids."""
        found: dict[bytes, bytes] = {}
        cursor = 0
        while True:
            cursor, page = self._redis.run("HSCAN", self._mailboxes, cursor, "COUNT", CHUNK)
            found |= page
            if not cursor:
                return {text(mailbox): settings for mailbox, settings in found.items()}

    def _read_all(self) -> tuple[Sequence[Mailbox], Mapping[str, MailboxUnreadable]]:
        """All mailboxes, and why some can't be read, by their ids."""
        mailboxes: list[Mailbox] = []
        unreadable: dict[str, MailboxUnreadable] = {}
        for mailbox, settings in self._all().items():
            try:
                mailboxes.append(mailbox_json.decode(mailbox, settings))
            except MailboxUnreadable as error:
                unreadable[mailbox] = error
        return mailboxes, unreadable

    def _unchanged(self, seen: Mailbox) -> bytes:
        """The JSON that Redis knows of the mailbox.

        Raises:
            RegistryError: it is not what was seen any more.
        """
        kept = self._seen(seen.id)
        if mailbox_json.decode(seen.id, kept) != seen:
            raise _outrun(seen)
        return kept

    def _known(self, mailbox: str) -> bytes:
        """What Redis knows of the mailbox; empty: nothing."""
        known: bytes | None = self._redis.run("HGET", self._mailboxes, mailbox)
        return known or b""

    def _seen(self, mailbox: str) -> bytes:
        seen = self._known(mailbox)
        if not seen:
            raise RegistryError(
                f"there is no mailbox {mailbox!r}", remedy="list the mailboxes to see their names"
            )
        return seen

    def _read(self, key: str) -> tuple[Mailbox, bytes]:
        settings = b"".join(self._store.read(key, octets=_SETTINGS_OCTETS_MAX))
        mailbox = mailbox_json.identity(settings)
        if _key(mailbox.id) != key:
            raise RegistryError(f"it holds mailbox {mailbox.id!r}")
        return mailbox, settings


def _outrun(mailbox: Mailbox) -> RegistryError:
    return RegistryError(
        f"mailbox {mailbox.name!r} was changed or removed by somebody else meanwhile",
        remedy="look at it, and try again",
    )


def _key(mailbox: str) -> str:
    return f"{_FOLDER}{mailbox}.json"
