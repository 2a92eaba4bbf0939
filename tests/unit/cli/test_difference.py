"""What declarations would change: which mailbox is which, whose it is, and in which order."""

from __future__ import annotations

from itertools import count

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.cli.difference import Difference, difference, is_undeclared
from ingest.model import Mailbox
from tests.fakes.mail_values import mailbox

new = count()

OURS, BY_HAND, THEIRS = "file", "", "elsewhere"


def kept(name: str, account: str = "", source: str = OURS, paused: str = "") -> Mailbox:
    """A mailbox that there is."""
    return wanted(name, account, paused, id=f"mb-{name}", source=source)


def wanted(name: str, account: str = "", paused: str = "", **more: str) -> Mailbox:
    """A declared one."""
    account = account or name
    fields = {"id": "", "username": account, "paused": paused, **more}
    return msgspec.structs.replace(mailbox(name), **fields)


def compare(
    declared: list[Mailbox], there: list[Mailbox], *, adopt: bool = False, prune: bool = False
) -> Difference:
    return difference(declared, there, OURS, lambda: f"mb-{next(new)}", adopt=adopt, prune=prune)


def applied(found: Difference, there: list[Mailbox]) -> list[Mailbox]:
    """What there is after it; no two have one name or account at any time."""
    assert not found.conflicts
    now = {each.id: each for each in there}
    for change in found.changes:
        assert change.seen == now.pop(change.mailbox.id, None)
        if change.after:
            now[change.after.id] = change.after
        held = [claim for each in now.values() for claim in each.claims]
        assert len(held) == len(set(held))
    return list(now.values())


def test_what_is_new_is_added_and_what_is_the_same_is_left_alone() -> None:
    found = compare([wanted("a"), wanted("b")], [kept("a")])
    (change,) = found.changes
    assert (change.kind, change.mailbox.name, change.mailbox.source) == ("added", "b", OURS)
    assert found.unchanged == 1


def test_a_new_name_for_a_known_account_keeps_the_mailbox() -> None:
    (change,) = compare([wanted("b", "a")], [kept("a")]).changes
    assert (change.kind, change.mailbox.id, change.fields) == ("changed", "mb-a", ["name"])


def test_a_new_account_under_a_known_name_keeps_the_mailbox() -> None:
    (change,) = compare([wanted("a", "b")], [kept("a")]).changes
    assert (change.kind, change.mailbox.id, change.fields) == ("changed", "mb-a", ["username"])


def test_what_is_no_longer_declared_is_paused_and_keeps_its_id() -> None:
    found = compare([], [kept("a"), kept("b", source=BY_HAND), kept("c", source=THEIRS)])
    (change,) = found.changes
    assert (change.kind, change.mailbox.name, change.fields) == ("paused", "a", ["paused"])
    assert not compare([], applied(found, [kept("a")])).changes


def test_it_is_forgotten_if_that_is_asked_for_also_later() -> None:
    paused = compare([], [kept("a")]).changes[0].mailbox
    for there in (kept("a"), paused):
        (change,) = compare([], [there], prune=True).changes
        assert (change.kind, change.after) == ("removed", None)


@pytest.mark.parametrize("reason", ["", "by hand"])
def test_declared_again_it_is_what_it_was(reason: str) -> None:
    before = [kept("a", paused=reason)]
    gone = applied(compare([], before), before)
    assert is_undeclared(gone[0])
    assert applied(compare([wanted("a")], gone), gone) == before


def test_a_declared_pause_comes_and_goes_and_one_by_others_stays() -> None:
    there = [kept("a")]
    for reason in ("moving", "still moving", ""):
        there = applied(compare([wanted("a", paused=reason)], there), there)
        assert there[0].paused == (f"declared: {reason}" if reason else "")
    by_hand = [kept("a", paused="by hand")]
    assert not compare([wanted("a")], by_hand).changes


def test_what_people_added_is_taken_only_if_told() -> None:
    there = [kept("a", source=BY_HAND)]
    refused = compare([wanted("b", "a"), wanted("c")], there)
    assert refused.conflicts == ["mailbox 'b' was added by hand, as a: --adopt takes it over"]
    assert applied(compare([wanted("a")], there, adopt=True), there) == [kept("a")]


def test_what_another_source_declares_is_taken_only_once_it_does_so_no_more() -> None:
    theirs = kept("a", source=THEIRS)
    refused = compare([wanted("a")], [theirs], adopt=True)
    assert refused.conflicts == ["mailbox 'a' is declared in 'elsewhere': take it out there first"]
    (gone,) = (
        each.mailbox
        for each in difference([], [theirs], THEIRS, str, adopt=False, prune=False).changes
    )
    assert applied(compare([wanted("a")], [gone]), [gone]) == [kept("a")]


def test_names_and_accounts_wander_in_an_order_in_which_none_is_held_twice() -> None:
    there = [kept("a"), kept("b"), kept("c")]
    now = applied(compare([wanted("c", "b"), wanted("d", "c"), wanted("b", "a")], there), there)
    assert {(each.id, each.name) for each in now} == {("mb-a", "b"), ("mb-b", "c"), ("mb-c", "d")}


def test_two_that_swap_their_names_are_refused_and_so_is_a_name_that_one_keeps() -> None:
    swapped = compare([wanted("a", "b"), wanted("b", "a")], [kept("a"), kept("b")])
    assert swapped.conflicts == [
        "mailbox 'a' shall have a name or an account that mailbox 'a' has: change that one first",
        "mailbox 'b' shall have a name or an account that mailbox 'b' has: change that one first",
    ]
    there = [kept("a"), kept("b", source=THEIRS)]
    assert compare([wanted("b", "a")], there).conflicts
    gone = [kept("a"), kept("b")]
    assert compare([wanted("b", "a")], gone).conflicts
    assert not compare([wanted("b", "a")], gone, prune=True).conflicts


names = st.sampled_from("abcd")
declarations = st.lists(
    st.builds(wanted, names, names, st.sampled_from(["", "moving"])),
    max_size=4,
    unique_by=(lambda each: each.name, lambda each: each.username),
)


@given(first=declarations, second=declarations, prune=st.booleans())
def test_applied_once_it_changes_nothing_more(
    first: list[Mailbox], second: list[Mailbox], *, prune: bool
) -> None:
    there: list[Mailbox] = []
    for declared in (first, second):
        found = compare(declared, there, prune=prune)
        if found.conflicts:
            return
        before, there = there, applied(found, there)
        again = compare(declared, there, prune=prune)
        assert (again.changes, again.conflicts) == ([], [])
        active = {each.name for each in there if not is_undeclared(each)}
        assert active == {each.name for each in declared}
        assert prune or {each.id for each in before} <= {each.id for each in there}
