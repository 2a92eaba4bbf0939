"""The decisions of the intake, pure: what to do with what a maildrop lists.

The evidence for a DELE is one of two (never a unique-id alone, which servers reuse, double and
renumber; RFC 1939 section 7 promises no more than "unique while the message is there"):

- retrieved in this very session and its octets committed, or
- known by unique-id *and* size as listed *and* the SHA-256 of its header block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from ingest.errors import (
    IngestError,
    MailboxPaused,
    MaildropBusy,
    RegistryError,
    SessionStopped,
    SettingsError,
    SignInRefused,
    StateError,
    StoreError,
)
from ingest.model import DeleteRule, Horizon, LedgerEntry, Listed

# A message that took a worker or its session down so often, is stored unparsed.
MOST_ATTEMPTS = 3

# A server may send so many octets more than LIST announced: it is no framing, and some are far off.
_LONGER_OCTETS = 64 * 1024 * 1024
_LONGER_TIMES = 10

# Servers count line ends, stuffing and headers of their own into LIST; a message that is shorter
# by more than this was cut somewhere.
_SHORT_OCTETS = 4096
_SHORT_PER_CENT = 10


class Known(NamedTuple):
    """A listed message that the ledger knows by unique-id and size."""

    listed: Listed
    entry: LedgerEntry


class Plan(NamedTuple):
    """What a session does with each listed message."""

    retrieve: tuple[Listed, ...]  # new, or not certain to be known
    delete: tuple[Known, ...]  # stored earlier; DELE once the header block is seen to be the same
    keep: tuple[Listed, ...]  # stored earlier; stays on the server for now


def plan(
    listing: Sequence[Listed],
    known: Mapping[str, LedgerEntry],
    rule: DeleteRule,
    horizon: Horizon,
    *,
    strict: bool = False,
) -> Plan:
    """Sort the listing into what to retrieve, what to delete and what to keep.

    Args:
        listing: the maildrop.
        known: the ledger's entries by unique-id.
        rule: the mailbox's delete rule.
        horizon: what is past, by the clock that dated the entries.
        strict: accept only octets retrieved in this session as evidence.
    """
    retrieve: list[Listed] = []
    delete: list[Known] = []
    keep: list[Listed] = []
    for listed in listing:
        entry = known.get(listed.unique_id) if listed.unique_id else None
        rehearsed = entry is not None and entry.rehearsal and rule.mode != "shadow"
        if entry is None or entry.listed_octets != listed.octets or rehearsed:
            retrieve.append(listed)
        elif not may_delete(rule, entry.committed_at, horizon):
            keep.append(listed)
        elif entry.header_sha256 and not strict:
            delete.append(Known(listed, entry))
        else:
            retrieve.append(listed)
    return Plan(tuple(retrieve), tuple(delete), tuple(keep))


def may_delete(rule: DeleteRule, committed_at: float | None, horizon: Horizon) -> bool:
    """Whether a message committed then, or only now (None), may leave the server now."""
    if rule.mode == "after":
        at = horizon.now if committed_at is None else committed_at
        return horizon.now >= at + rule.after.total_seconds()
    if rule.mode == "published":
        # It is dated to the second before. What is only committed now is published later.
        return committed_at is not None and committed_at + 1 <= horizon.accepted_before
    return rule.mode == "committed"


def is_short(listed_octets: int, octets: int) -> bool:
    """Whether a message has far fewer octets than LIST announced: cut on the way, perhaps."""
    tolerance = max(_SHORT_OCTETS, listed_octets * _SHORT_PER_CENT // 100)
    return octets < listed_octets - tolerance


def most_octets(listed_octets: int) -> int:
    """The octets past which a message is taken for one that a hostile server never ends."""
    return _LONGER_OCTETS + _LONGER_TIMES * listed_octets


def alias(listed: Listed) -> str:
    """What attempts at a message are counted by: its unique-id, or else its place and size.

    Another one may take that place; it is no more than tried with care then.
    """
    return listed.unique_id or f"\0{listed.number} {listed.octets}"


def in_turn(wanted: Sequence[Listed], chance: float) -> list[Listed]:
    """Begin with any of the messages without unique-id, where they stay on the server.

    They are retrieved each time, and a session's limit would always end at the same one.

    Args:
        wanted: the messages.
        chance: a random number from 0 to 1.
    """
    named = [listed for listed in wanted if listed.unique_id]
    nameless = [listed for listed in wanted if not listed.unique_id]
    first = int(chance * len(nameless))
    return [*named, *nameless[first:], *nameless[:first]]


Care: TypeAlias = Literal["parse", "raw", "skip"]


def care(attempts: int) -> Care:
    """How to take in a message that is tried for the so-manieth time.

    `raw`: without parsing it. `skip`: not at all, since neither way helped: it is tried again only
    when the count reaches a power of two, ever more rarely but for ever.
    """
    if attempts <= MOST_ATTEMPTS:
        return "parse"
    if attempts <= 2 * MOST_ATTEMPTS or attempts.bit_count() == 1:
        return "raw"
    return "skip"


class Suspicion(NamedTuple):
    """Which messages a session may take in, by how often each was tried before."""

    innocent: list[Listed]  # never; or so often that they are only counted, and skipped
    suspects: list[Listed]  # to be tried in a process of their own


def suspicion(wanted: Sequence[Listed], attempts: Mapping[str, int]) -> Suspicion:
    """Tell apart what may have taken a worker or a session down.

    Args:
        wanted: the messages.
        attempts: how often each was tried, by `alias`.
    """
    innocent: list[Listed] = []
    suspects: list[Listed] = []
    for listed in wanted:
        tried = attempts.get(alias(listed), 0)
        suspected = tried and care(tried + 1) != "skip"
        (suspects if suspected else innocent).append(listed)
    return Suspicion(innocent, suspects)


def lineup(suspects: Sequence[Listed], attempts: Mapping[str, int]) -> list[Listed]:
    """Which suspects to try at once: all that failed once, then the others one by one.

    A worker that dies takes many messages with it, and hardly ever more than one is to blame.
    """
    once = [listed for listed in suspects if attempts.get(alias(listed), 0) == 1]
    if once or not suspects:
        return once
    return [min(suspects, key=lambda listed: attempts[alias(listed)])]


class Standing(msgspec.Struct, frozen=True):
    """How a mailbox is doing: kept between its sessions."""

    interval: float = 0.0  # seconds between its last two due times
    failures: int = 0  # in a row
    error: str = ""  # the last failure's code; empty: the last session went well
    message: str = ""  # the last failure's message and remedy
    polled_at: float = 0.0  # end of the last session, by Redis's clock
    suspects: int = 0  # messages that the next session tries in a process of its own


class Next(NamedTuple):
    """When a mailbox is due again."""

    due_in: float  # seconds
    standing: Standing
    pause: str = ""  # why it should not be polled until a person acts; empty: go on


class Pace(NamedTuple):
    """The shortest and the longest interval between two sessions of a mailbox, in seconds."""

    shortest: float
    longest: float


# A server says "wrong password" during its own outages too, so one refusal is not believed.
_SIGN_IN_DELAYS = (300.0, 900.0, 3600.0)
_BUSY_DELAY = 60.0
_UNREADABLE_DELAY = 300.0
_LONGEST_DELAY = 3600.0


def is_our_own(error: IngestError) -> bool:
    """Whether the session failed by trouble of our own, not the mailbox's."""
    return isinstance(error, SessionStopped | StoreError | StateError)


def after_success(
    standing: Standing,
    pace: Pace,
    *,
    arrived: int,
    left: int,
    suspects: int,
    at_least: float,
    now: float,
    jitter: float,
) -> Next:
    """When a mailbox is due after a session that ended well.

    Mail that arrives shortens the interval, silence lengthens it by half.

    Args:
        standing: before the session.
        pace: the bounds.
        arrived: messages that were new.
        left: messages not started for the session's limits; they are fetched without a pause.
        suspects: messages to be tried in a process of their own, likewise.
        at_least: the server's LOGIN-DELAY; nothing makes us come back sooner.
        now: seconds since the epoch by Redis's clock.
        jitter: a random number from 0 to 1.
    """
    before = standing.interval or pace.shortest
    interval = pace.shortest if arrived else before * 1.5
    interval = min(max(interval, pace.shortest), pace.longest)
    due_in = 0.0 if left or suspects else interval * (0.9 + 0.2 * jitter)
    return Next(
        max(due_in, at_least), Standing(interval=interval, polled_at=now, suspects=suspects)
    )


def after_failure(
    standing: Standing, pace: Pace, error: IngestError, *, now: float, jitter: float
) -> Next:
    """When a mailbox is due after a session that failed: later for each failure in a row."""
    # A refusal that ends an outage is a first one: refusals pause the mailbox, outages don't.
    anew = isinstance(error, SignInRefused) and standing.error != error.code
    failures = 1 if anew else standing.failures + 1
    failed = Standing(
        interval=standing.interval,
        failures=failures,
        error=error.code,
        message=f"{error}; {error.remedy}" if error.remedy else str(error),
        polled_at=now,
    )
    match error:
        case _ if is_our_own(error):
            # As if it had not been polled.
            return Next(pace.shortest, msgspec.structs.replace(failed, failures=standing.failures))
        case SignInRefused() if failures > len(_SIGN_IN_DELAYS):
            return Next(0.0, failed, pause=f"sign-in refused {failures} times in a row")
        case SignInRefused():
            delay = _SIGN_IN_DELAYS[failures - 1]
        case MailboxPaused():
            return Next(0.0, failed, pause=str(error))
        case MaildropBusy():
            delay = _BUSY_DELAY * failures
        case RegistryError() | SettingsError():
            # A secret that this worker lacks another one may have: no reason to pause for all.
            delay = _UNREADABLE_DELAY
        case _:
            delay = pace.shortest * 2.0 ** min(failures - 1, 16)
    delay = min(max(delay, pace.shortest), _LONGEST_DELAY)
    return Next(delay * (0.75 + 0.5 * jitter), failed)
