"""The configured mailboxes: in the object store, where they last, and in Redis, to find them.

The store is written first, so that Redis never knows a mailbox that would be lost with it. In Redis
a hash has the mailboxes and another one has the claims, a name and an account each, that no two
mailboxes may share. Of changes at the same time Redis decides which one stands: it takes a change
only of what the caller saw, and who was too late gives the store back what Redis knows.

Workers of two versions may be at work: what a newer one says of a mailbox and this one does not
know stays as it is.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec
from redis import Redis

from ingest.errors import ObjectMissing, RegistryError
from ingest.intake.ports import ObjectStore
from ingest.model import Mailbox, name_claim
from ingest.state.commands import CHUNK, PREFIX, Commands, text

_FOLDER: Final = "mailboxes/"
_SETTINGS_OCTETS_MAX: Final = 256 * 1024  # of one mailbox


class Restored(NamedTuple):
    """What `restore` changed in Redis."""

    added: list[Mailbox]
    removed: list[Mailbox]
    refused: list[str]  # one sentence for each object that is no mailbox, or is one twice


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
        kept = self._seen(mailbox.id)
        if msgspec.json.decode(kept, type=Mailbox) != seen:
            raise _outrun(mailbox)
        return self._keep(mailbox, kept)

    def get(self, name_or_id: str) -> Mailbox:
        """One mailbox.

        Raises:
            RegistryError: there is none of that name or id.
        """
        seen = self._known(name_or_id)
        if not seen:
            found: bytes | None = self._redis.run("HGET", self._claims, name_claim(name_or_id))
            seen = self._seen(text(found) if found else name_or_id)
        return msgspec.json.decode(seen, type=Mailbox)

    def list(self) -> Sequence[Mailbox]:
        """All mailboxes, in the order of their names."""
        found: dict[bytes, bytes] = {}
        cursor = 0
        while True:
            cursor, page = self._redis.run("HSCAN", self._mailboxes, cursor, "COUNT", CHUNK)
            found |= page
            if not cursor:
                break
        mailboxes = (msgspec.json.decode(seen, type=Mailbox) for seen in found.values())
        return sorted(mailboxes, key=lambda mailbox: (mailbox.name, mailbox.id))

    def remove(self, name_or_id: str) -> Mailbox:
        """Forget a mailbox: its settings, not what was committed of it. Returns what it was.

        Raises:
            RegistryError: there is none of that name or id.
        """
        mailbox = self.get(name_or_id)
        self._store.delete([_key(mailbox.id)])
        self._forget(mailbox.id)
        self._store.delete([_key(mailbox.id)])  # a change between the two may have put it again
        return mailbox

    def restore(self, going_on: Callable[[], None] = lambda: None) -> Restored:
        """Make Redis know exactly the mailboxes that the store has.

        Calls `going_on` before each, and ends where that raises.
        """
        restored = Restored([], [], [])
        stored = set[str]()
        for item in self._store.list(_FOLDER):
            going_on()
            try:
                mailbox, new = self._take_in(item.key)
            except ObjectMissing:
                continue  # removed since it was listed
            except (RegistryError, msgspec.MsgspecError) as error:
                restored.refused.append(f"{item.key}: {str(error).splitlines()[0]}")
                continue
            stored.add(mailbox.id)
            if new:
                restored.added.append(mailbox)
        for mailbox in self.list():
            if mailbox.id not in stored and not self._is_stored(mailbox.id):
                self._forget(mailbox.id)
                restored.removed.append(mailbox)
        return restored

    def _keep(self, mailbox: Mailbox, seen: bytes) -> Mailbox:
        self._refuse_taken(mailbox)
        settings = _encoded(mailbox, seen)
        self._store.put(_key(mailbox.id), settings)
        try:
            if not self._register(mailbox, seen, settings):
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

    def _take_in(self, key: str) -> tuple[Mailbox, bool]:
        """Let Redis know a mailbox as the store has it: which, and whether Redis did not know it.

        Asked for before the store is read: what is written meanwhile is newer.
        """
        while True:
            seen = self._known(key.removeprefix(_FOLDER).removesuffix(".json"))
            mailbox, settings = self._read(key)
            if seen == settings or self._register(mailbox, seen, settings):
                return mailbox, not seen

    def _register(self, mailbox: Mailbox, seen: bytes, settings: bytes) -> bool:
        """Let Redis know the mailbox, if what it knew is what was seen; False: it is not.

        Args:
            mailbox: as it shall be.
            seen: its JSON that Redis knew; empty: it knew none.
            settings: its JSON that Redis shall know.

        Raises:
            RegistryError: another one has its name or its account.
        """
        old = msgspec.json.decode(seen, type=Mailbox).claims if seen else []
        answer = self._redis.call(
            "register",
            [self._mailboxes, self._claims],
            [mailbox.id, seen, settings, len(old), *old, *mailbox.claims],
        )
        if len(answer) > 1:
            raise self._taken(mailbox, text(answer[0]), text(answer[1]))
        return bool(answer[0] == b"done")

    def _forget(self, mailbox: str) -> None:
        while seen := self._known(mailbox):
            held = msgspec.json.decode(seen, type=Mailbox).claims
            self._redis.call(
                "register",
                [self._mailboxes, self._claims],
                [mailbox, seen, "", len(held), *held],
            )

    def _refuse_taken(self, mailbox: Mailbox) -> None:
        wanted = mailbox.claims
        owners = self._redis.run("HMGET", self._claims, *wanted)
        for claim, owner in zip(wanted, owners, strict=True):
            if owner and text(owner) != mailbox.id:
                raise self._taken(mailbox, claim, text(owner))

    def _taken(self, mailbox: Mailbox, claim: str, owner: str) -> RegistryError:
        existing = self._redis.run("HGET", self._mailboxes, owner)
        name = msgspec.json.decode(existing, type=Mailbox).name if existing else owner
        what = "the name" if claim == name_claim(mailbox.name) else "the account"
        return RegistryError(
            f"mailbox {name!r} ({owner}) has {what} of the mailbox {mailbox.name!r} already",
            remedy=f"change {name!r}, or remove it first",
        )

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
        mailbox = msgspec.json.decode(settings, type=Mailbox)
        if _key(mailbox.id) != key:
            raise RegistryError(f"it holds mailbox {mailbox.id!r}")
        return mailbox, settings

    def _is_stored(self, mailbox: str) -> bool:
        """Whether a mailbox that was not listed was added since."""
        try:
            self._store.size(_key(mailbox))
        except ObjectMissing:
            return False
        return True


def _outrun(mailbox: Mailbox) -> RegistryError:
    return RegistryError(
        f"mailbox {mailbox.name!r} was changed or removed by somebody else meanwhile",
        remedy="look at it, and try again",
    )


def _encoded(mailbox: Mailbox, seen: bytes) -> bytes:
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


def _key(mailbox: str) -> str:
    return f"{_FOLDER}{mailbox}.json"
