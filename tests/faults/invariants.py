"""What must hold whatever happens, told from maildrop, store and stream of events alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta

from ingest.objects.sweep import sweep
from tests.e2e.fleet import Fleet, stored
from tests.servers.dovecot import Maildrop


def sha256(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def delivered(maildrop: Maildrop, everything: Sequence[bytes]) -> set[str]:
    """Put these into the maildrop; their hashes."""
    maildrop.deliver_many(everything)
    return {sha256(octets) for octets in everything}


def assert_nothing_is_lost(ours: Fleet, maildrop: Maildrop, expected: set[str]) -> None:
    """What is gone from the maildrop can be rebuilt from the store."""
    gone = expected - {sha256(octets) for octets in maildrop.messages()}
    if gone:
        with ours.store() as store:
            assert gone <= {record.sha256 for record in stored(store)}


def all_arrived(ours: Fleet, maildrop: Maildrop, expected: set[str]) -> bool:
    """Whether the maildrop is empty, and all of it published."""
    return not maildrop.count() and {event.data.sha256 for event in ours.events()} == expected


def assert_nothing_has_two_ids(ours: Fleet, expected: set[str]) -> None:
    """Every message has one event, always the same however often it was published."""
    with ours.store() as store:
        ids = {event.id for record in stored(store) for event in record.events}
    assert len(ids) == len(expected)
    events = {event.id: event for event in ours.events()}
    assert events.keys() == ids
    assert all(events[event.id] == event for event in ours.events())


def assert_all_arrived_once(ours: Fleet, maildrop: Maildrop, expected: set[str]) -> None:
    """Wait until all arrived; none of it under two ids."""
    ours.wait(lambda: all_arrived(ours, maildrop, expected))
    assert_nothing_has_two_ids(ours, expected)


def assert_the_sweep_leaves_only_what_is_referred_to(ours: Fleet) -> None:
    with ours.store() as store:
        sweep(store, age=-timedelta(seconds=2))  # a store's times are whole seconds
        batches = {found.key.split("/")[-2] for found in store.list("mail/")}
        assert batches == {record.batch for record in stored(store)}
        assert store.abort_uploads(store.now() + timedelta(days=1)) == 0
