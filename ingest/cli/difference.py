"""What applying declarations would change: pure, so that it can be shown before anything is."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from ingest.cli.declared import FIELDS
from ingest.model import Mailbox

Kind: TypeAlias = Literal["added", "changed", "paused", "removed"]

_DECLARED: Final = "declared: "
_UNDECLARED: Final = "no longer declared"
_BEFORE: Final = "; before that: "


def is_undeclared(mailbox: Mailbox) -> bool:
    """Whether its declarations had it once, and don't any more."""
    return mailbox.paused.startswith(_UNDECLARED)


def is_paused_by_declaration(mailbox: Mailbox) -> bool:
    """Whether its declaration says that it is paused."""
    return mailbox.paused.startswith(_DECLARED)


class Change(NamedTuple):
    """One mailbox, as it is and as it shall be."""

    seen: Mailbox | None  # None: it is new
    after: Mailbox | None  # None: it is forgotten

    @property
    def mailbox(self) -> Mailbox:
        """The one of the two that there is, the later one of both."""
        mailbox = self.after or self.seen
        assert mailbox  # noqa: S101 - one of them is always there
        return mailbox

    @property
    def kind(self) -> Kind:
        """What becomes of it."""
        if self.seen is None:
            return "added"
        if self.after is None:
            return "removed"
        return "paused" if is_undeclared(self.after) else "changed"

    @property
    def fields(self) -> list[str]:
        """What changes of one that stays."""
        if not (self.seen and self.after):
            return []
        before, after = msgspec.structs.asdict(self.seen), msgspec.structs.asdict(self.after)
        return [field for field in after if after[field] != before[field]]


class Difference(NamedTuple):
    """From what there is to what is declared."""

    changes: list[Change]  # in an order that never gives two mailboxes one name or account
    unchanged: int
    conflicts: list[str]  # why nothing of it can be applied, a sentence for each mailbox


def difference(
    wanted: Sequence[Mailbox],
    kept: Sequence[Mailbox],
    source: str,
    new_id: Callable[[], str],
    *,
    adopt: bool = False,
    prune: bool = False,
) -> Difference:
    """Compare what a source declares with all mailboxes that there are.

    One that has the account of a declared one is that one, whatever its name; else, one that has
    its name.

    Args:
        wanted: what is declared, without ids.
        kept: the registry.
        source: the name of these declarations.
        new_id: makes an id.
        adopt: take over what people added.
        prune: remove what is no longer declared, instead of pausing it.
    """
    found = _matched(wanted, kept)
    changes: list[Change] = []
    conflicts: list[str] = []
    for mailbox, seen in zip(wanted, found, strict=True):
        if seen is None:
            new = msgspec.structs.replace(mailbox, id=new_id(), source=source, paused="")
            changes.append(Change(None, _paused(new, mailbox.paused)))
        elif not _may_take(seen, source, adopt=adopt):
            conflicts.append(_not_ours(mailbox, seen))
        else:
            declared = {field: getattr(mailbox, field) for field in FIELDS}
            after = msgspec.structs.replace(seen, source=source, **declared)
            changes.append(Change(seen, _paused(after, mailbox.paused)))
    matched = {seen.id for seen in found if seen}
    changes += (
        Change(seen, None if prune else _undeclared(seen))
        for seen in kept
        if seen.source == source and seen.id not in matched
    )
    real = [change for change in changes if change.after != change.seen]
    ordered, stuck = _ordered(real, kept)
    return Difference(ordered, len(changes) - len(real), conflicts + stuck)


def _matched(wanted: Sequence[Mailbox], kept: Sequence[Mailbox]) -> list[Mailbox | None]:
    """The mailbox that each declared one is already."""
    by_name, by_account = ({seen.claims[which]: seen for seen in kept} for which in (0, 1))
    found = [by_account.get(mailbox.claims[1]) for mailbox in wanted]
    taken = {seen.id for seen in found if seen}
    for index, mailbox in enumerate(wanted):
        named = by_name.get(mailbox.claims[0])
        if not found[index] and named and named.id not in taken:
            found[index] = named
    return found


def _may_take(seen: Mailbox, source: str, *, adopt: bool) -> bool:
    return seen.source == source or is_undeclared(seen) or (adopt and not seen.source)


def _not_ours(mailbox: Mailbox, seen: Mailbox) -> str:
    named = shlex.quote(seen.name)
    if seen.source:
        return f"mailbox {mailbox.name!r} is declared in {seen.source!r}: take it out there first"
    return f"mailbox {mailbox.name!r} was added by hand, as {named}: --adopt takes it over"


def _paused(mailbox: Mailbox, reason: str) -> Mailbox:
    """Paused if that is declared. What people or workers paused otherwise stays so."""
    paused = mailbox.paused
    if is_undeclared(mailbox):
        paused = paused.partition(_BEFORE)[2]
    if reason:
        paused = _DECLARED + reason
    elif paused.startswith(_DECLARED):
        paused = ""
    return msgspec.structs.replace(mailbox, paused=paused)


def _undeclared(mailbox: Mailbox) -> Mailbox:
    if is_undeclared(mailbox):
        return mailbox
    reason = _UNDECLARED + (_BEFORE + mailbox.paused if mailbox.paused else "")
    return msgspec.structs.replace(mailbox, paused=reason)


def _ordered(changes: Sequence[Change], kept: Sequence[Mailbox]) -> tuple[list[Change], list[str]]:
    """The changes, each after those that free its name and account; why some have no place."""
    holders = {claim: seen for seen in kept for claim in seen.claims}
    ordered: list[Change] = []
    waiting: Sequence[Change] = changes
    while waiting:
        blocked: list[Change] = []
        stuck: list[str] = []
        for change in waiting:
            if holder := _holder(change, holders):
                blocked.append(change)
                stuck.append(
                    f"mailbox {change.mailbox.name!r} shall have a name or an account that "
                    f"mailbox {holder.name!r} has: change that one first"
                )
                continue
            for claim in change.seen.claims if change.seen else ():
                del holders[claim]
            if change.after:
                holders |= dict.fromkeys(change.after.claims, change.after)
            ordered.append(change)
        if len(blocked) == len(waiting):
            return [], stuck
        waiting = blocked
    return ordered, []


def _holder(change: Change, holders: Mapping[str, Mailbox]) -> Mailbox | None:
    """Another mailbox that has the name or the account that this one shall have."""
    for claim in change.after.claims if change.after else ():
        holder = holders.get(claim)
        if holder and holder.id != change.mailbox.id:
            return holder
    return None
