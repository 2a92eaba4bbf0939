"""Proof, damage, the brake, and a Redis that was wiped, on real parts and by the command alone."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.state.connect import connect
from tests import messages
from tests.e2e.fleet import Fleet, fleet
from tests.servers.dovecot import Dovecot, Maildrop
from tests.servers.valkey import Valkey

LARGE = 3_000_000


@pytest.fixture
def ours(tmp_path: Path, valkey: Valkey) -> Iterator[Fleet]:
    with fleet(tmp_path, valkey.url) as made:
        yield made


@pytest.fixture
def drop(ours: Fleet, dovecot: Dovecot, maildrop: Maildrop) -> Maildrop:
    """Ten messages, taken in and deleted."""
    maildrop.deliver_many(messages.small(seed).octets for seed in range(7))
    maildrop.deliver(messages.nested(7).octets)
    maildrop.deliver_many(messages.with_attachment(seed, LARGE).octets for seed in (8, 9))
    ours.add(dovecot, maildrop.name)
    ours.run("poll", maildrop.name)
    assert maildrop.count() == 0
    return maildrop


def audited(ours: Fleet, *words: str, expect: int = 0) -> list[dict[str, Any]]:
    """What the audit says of each message, and last of all of them."""
    lines = ours.run("audit", *words, "--json", expect=expect).splitlines()
    return [json.loads(line) for line in lines]


def test_damage_is_named_stops_all_deletes_and_is_proven_mended(
    ours: Fleet, drop: Maildrop, tmp_path: Path
) -> None:
    *found, summary = audited(ours)
    assert (len(found), summary["proven"]) == (10, 10)
    assert {each["deleted"] for each in found} == {"confirmed"}
    assert all(set(each["events"].values()) == {"accepted"} for each in found)
    assert audited(ours, drop.name, "--sample", "4")[-1]["proven"] == 4

    part = max((tmp_path / "store" / "mail").rglob("part-*"), key=lambda path: path.stat().st_size)
    whole = part.read_bytes()
    part.write_bytes(whole[: LARGE // 2] + bytes([whole[LARGE // 2] ^ 1]) + whole[LARGE // 2 + 1 :])
    told = ours.run("audit", expect=7).splitlines()

    [wrong] = [line for line in told if line.startswith("NOT PROVEN")]
    assert wrong.startswith(f"NOT PROVEN  {drop.name} ")
    assert str(part.relative_to(tmp_path / "store")) in wrong
    assert "restore the object from a backup" in wrong
    assert "nothing is deleted: audit: mail/" in ours.run("brake", "show")
    drop.deliver(messages.small(100).octets)
    assert "nothing was deleted: audit: mail/" in ours.run("poll", drop.name)
    assert drop.count() == 1

    part.write_bytes(whole)
    *found, summary = audited(ours, drop.name)
    assert (summary["proven"], summary["messages"]) == (11, 11)
    assert [each["deleted"] for each in found].count("open") == 1
    assert ours.run("brake", "release").startswith("released; it was pulled for: audit: mail/")
    ours.run("poll", drop.name)
    assert drop.count() == 0
    assert {each["deleted"] for each in audited(ours)[:-1]} == {"confirmed"}


def test_a_wiped_redis_is_reconciled_and_nothing_is_published_under_another_id(
    ours: Fleet, drop: Maildrop, valkey: Valkey
) -> None:
    before = {event.data.sha256: (event.id, event.data.record) for event in ours.events()}
    assert len(before) == 10
    with contextlib.closing(connect(valkey.url)) as client:
        client.flushall()

    first = json.loads(ours.run("reconcile", "--json"))
    assert (first["records"], first["events"], first["damaged"]) == (10, 10, 0)
    second = json.loads(ours.run("reconcile", "--since", "1h", "--json"))
    assert (second["records"], second["events"]) == (10, 0)
    assert "for a day of 10,000,000 messages like these" in ours.run("reconcile")

    drop.deliver(messages.small(3).octets)  # again, under another unique-id
    ours.start("worker")
    ours.start("beat")
    ours.wait(lambda: drop.count() == 0 and len(ours.events()) == 10)
    after = [(event.data.sha256, (event.id, event.data.record)) for event in ours.events()]
    assert len(after) == 10
    assert dict(after) == before
    summary = audited(ours)[-1]
    assert summary["proven"] == summary["messages"] >= 10
