"""The main job on real parts: Dovecot, Valkey, SeaweedFS or a directory, worker and beat."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.model import Record
from ingest.objects.probe import Store
from tests import messages
from tests.e2e.fleet import Fleet, fleet, s3_settings, stored
from tests.servers.dovecot import Dovecot, Maildrop
from tests.servers.seaweedfs import SeaweedFs
from tests.servers.valkey import Valkey

SMALL = 2_000
USERS = ("small-a", "small-b", "small-c", "small-d")
LARGE_OCTETS = 100_000_000


@pytest.fixture(params=["directory", "seaweedfs"])
def ours(request: pytest.FixtureRequest, tmp_path: Path, valkey: Valkey) -> Iterator[Fleet]:
    settings: dict[str, str] = {}
    if request.param == "seaweedfs":
        server: SeaweedFs = request.getfixturevalue("seaweedfs")
        settings = s3_settings(server, tmp_path.name)
    with fleet(tmp_path, valkey.url, settings) as made:
        yield made


def decoded(store: Store, record: Record) -> list[str]:
    """The hash of each part's decoded octets: from its object, where it has one."""
    hashes = []
    for part in record.parts:
        if part.key:
            digest = hashlib.sha256()
            for block in store.read(part.key):
                digest.update(block)
            assert digest.hexdigest() == part.sha256
        hashes.append(part.sha256)
    return hashes


@pytest.mark.timeout(600)
def test_two_thousand_small_messages_and_three_of_100_mb_arrive_whole_and_once(
    ours: Fleet, dovecot: Dovecot, tmp_path: Path
) -> None:
    prefix = "s3" if ours.settings.store else "dir"
    drops: list[Maildrop] = []
    expected: dict[str, tuple[str, ...]] = {}  # hash of the octets to those of the leaves
    for number, user in enumerate(USERS):
        drop = dovecot.add_user(f"{prefix}-{user}")
        for seed in range(number, SMALL, len(USERS)):
            message = messages.small(seed)
            expected[hashlib.sha256(message.octets).hexdigest()] = message.leaves
            drop.deliver(message.octets)
        drops.append(drop)
    large = dovecot.add_user(f"{prefix}-large")
    for seed in range(3):
        file = tmp_path / "large"
        leaves = messages.write_with_attachment(file, seed, LARGE_OCTETS)
        octets = file.read_bytes()
        expected[hashlib.sha256(octets).hexdigest()] = leaves
        large.deliver(octets)
    drops.append(large)

    for drop in drops:
        ours.add(dovecot, drop.name)
    ours.start("worker")
    ours.start("beat")
    ours.wait(lambda: not any(drop.count() for drop in drops), 300)
    ours.wait(lambda: len(ours.events()) >= len(expected))

    events = ours.events()
    assert Counter(event.data.sha256 for event in events) == Counter(expected.keys())
    assert len({event.id for event in events}) == len(expected)
    with ours.store() as store:
        records = stored(store)
        assert {record.sha256: tuple(decoded(store, record)) for record in records} == expected
        for event in events:
            for part in event.data.parts:
                assert not part.uri or part.uri in {
                    store.uri(of.key) for record in records for of in record.parts if of.key
                }
    assert "delete_without_evidence" not in ours.logs()
