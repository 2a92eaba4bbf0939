"""What is told of each message, what can't be proven, and what follows from that."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ingest.bootstrap import Application
from ingest.model import Record
from ingest.objects import keys
from tests import messages
from tests.fakes.ingested import ingest_messages
from tests.fakes.mail_values import mailbox
from tests.unit.cli.conftest import Ingest

PLAIN = messages.small(1).octets
WITH_PART = messages.with_attachment(2, 3_000).octets
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def mailboxes(application: Application) -> None:
    for name in "ab":
        application.registry.add(mailbox(name))


def part_of(home: Path, record: Record) -> Path:
    [key] = [part.key for part in record.parts if part.key]
    return home / "store" / key


def alter(path: Path) -> None:
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 1
    path.write_bytes(octets)


def relay(application: Application) -> None:
    """Let the sink have all events."""
    while read := application.outbox.read(1000):
        application.outbox.acknowledge([event.entry for event in read])


def test_the_whole_way_of_each_message_is_told(application: Application, ingest: Ingest) -> None:
    application.outbox.read(1)  # there is a sink
    plain, attached = ingest_messages(application, [PLAIN, WITH_PART])
    [waiting, *_] = ingest("audit", "--json").json
    assert waiting["events"] == {"stream": "waiting"}
    [kept] = ingest_messages(application, [messages.small(9).octets], name="b", deleted=False)
    relay(application)

    first, second, third, summary = ingest("audit", "--json").json

    assert (first["record"], second["record"], third["record"]) == (plain.id, attached.id, kept.id)
    assert first == {
        "record": plain.id,
        "mailbox": "a",
        "batch": plain.batch,
        "index": 0,
        "unique_id": "a-1",
        "listed_octets": len(PLAIN),
        "retrieved_at": first["retrieved_at"],
        "octets": len(PLAIN),
        "sha256": plain.sha256,
        "committed_at": first["committed_at"],
        "events": {"stream": "accepted"},
        "deleted": "confirmed",
        "proof": "proven",
        "object": "",
        "reason": "",
        "remedy": "",
    }
    assert first["committed_at"][:13] == first["retrieved_at"][:13]
    assert (third["mailbox"], third["deleted"]) == ("b", "open")
    assert (summary["messages"], summary["proven"], summary["brake"]) == (3, 3, "")
    assert summary["octets"] == len(PLAIN) + len(WITH_PART) + kept.octets


def test_people_read_a_line_for_each_message(application: Application, ingest: Ingest) -> None:
    application.outbox.read(1)
    [plain] = ingest_messages(application, [PLAIN])
    relay(application)
    done = ingest("audit")
    assert done.code == 0
    line, last = done.out.splitlines()
    for words in (
        f"proven  a {plain.id}: listed as a-1 ({len(PLAIN):,} octets), ",
        f"stored ({len(PLAIN):,} octets, SHA-256 {plain.sha256[:12]}), committed 2",
        f" in {plain.batch}, events accepted by stream, delete confirmed",
    ):
        assert words in line
    assert last.startswith("1 message (")
    assert " proven in " in last


def test_what_the_ledger_has_forgotten_is_unknown_and_proven_all_the_same(
    application: Application, ingest: Ingest
) -> None:
    ingest_messages(application, [PLAIN])
    application.ledger.drop("mb-a")
    told, _ = ingest("audit", "--json").json
    assert (told["committed_at"], told["deleted"], told["proof"]) == (None, "unknown", "proven")
    assert ingest("audit").code == 0


def test_an_altered_part_is_named_and_pulls_the_brake(
    application: Application, ingest: Ingest, home: Path
) -> None:
    _, attached = ingest_messages(application, [PLAIN, WITH_PART])
    alter(part_of(home, attached))
    key = str(part_of(home, attached).relative_to(home / "store"))

    done = ingest("audit")

    assert done.code == 7
    [line] = [line for line in done.out.splitlines() if line.startswith("NOT PROVEN")]
    assert line == (
        f"NOT PROVEN  a {attached.id}: {key} has other octets than were stored: the SHA-256 "
        "differs; deleted on its server → restore the object from a backup, or an earlier version "
        "of it"
    )
    reason = f"audit: {key} has other octets than were stored: the SHA-256 differs"
    assert application.brake.reason() == reason
    assert f"1 message can't be proven; nothing is deleted any more: {reason}" in done.err
    assert "ingest brake release" in done.err
    assert "1 message (" in done.out


def test_a_part_that_is_gone_pulls_the_brake_too(
    application: Application, ingest: Ingest, home: Path
) -> None:
    [attached] = ingest_messages(application, [WITH_PART], deleted=False)
    part_of(home, attached).unlink()
    done = ingest("audit", "--json")
    told, summary = done.json
    assert done.code == 7
    assert (told["proof"], told["reason"]) == ("missing", "is not in the store")
    assert summary["brake"] == application.brake.reason() != ""
    assert "perhaps still on its server" in ingest("audit").out


def test_a_brake_that_was_on_keeps_its_reason(
    application: Application, ingest: Ingest, home: Path
) -> None:
    [attached] = ingest_messages(application, [WITH_PART])
    part_of(home, attached).unlink()
    application.brake.pull("by hand")
    assert "nothing is deleted any more: by hand" in ingest("audit").err


def test_a_commit_object_that_is_gone_is_missed_by_the_ledger(
    application: Application, ingest: Ingest, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.cli.auditor._SETTLED_SECONDS", -1)
    one, two = ingest_messages(application, [PLAIN, WITH_PART])
    [other] = ingest_messages(application, [PLAIN], name="b")
    (home / "store" / keys.commit(one.batch)).unlink()

    done = ingest("audit", "--json")

    assert done.code == 7
    *found, summary = done.json
    lost = {each["record"]: each for each in found if each["proof"] == "missing"}
    assert lost.keys() == {one.id, two.id}
    assert {each["mailbox"] for each in lost.values()} == {"a"}
    assert {each["deleted"] for each in lost.values()} == {"confirmed"}
    assert lost[one.id]["object"] == keys.hour_prefix(keys.begun(one.batch))
    assert (summary["messages"], summary["proven"]) == (3, 1)
    assert application.brake.reason()
    assert [each["record"] for each in ingest("audit", "b", "--json").json[:-1]] == [other.id]


def test_a_record_that_can_not_be_read_is_named_by_its_place_and_by_the_ledger(
    application: Application, ingest: Ingest, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.cli.auditor._SETTLED_SECONDS", -1)
    one, two = ingest_messages(application, [PLAIN, WITH_PART])
    commit = home / "store" / keys.commit(one.batch)
    commit.write_bytes(commit.read_bytes().replace(two.sha256.encode(), b"0" * 64))
    done = ingest("audit")
    assert done.code == 7
    assert f"NOT PROVEN  message 1 of batch {one.batch}: {keys.commit(one.batch)} " in done.out
    assert f"NOT PROVEN  a {two.id}: {keys.hour_prefix(keys.begun(one.batch))} " in done.out
    assert f"proven  a {one.id}" in done.out


def test_what_was_just_committed_is_not_missed_before_it_can_be_listed(
    application: Application, ingest: Ingest, home: Path
) -> None:
    [one] = ingest_messages(application, [PLAIN])
    (home / "store" / keys.commit(one.batch)).unlink()
    assert ingest("audit").code == 0


def test_an_object_that_can_not_be_read_proves_nothing_and_pulls_no_brake(
    application: Application, ingest: Ingest, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [attached] = ingest_messages(application, [WITH_PART])
    path = part_of(home, attached)
    opened = Path.open

    def refused(self: Path, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as of Path
        if self == path:
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refused)
    done = ingest("audit")
    assert done.code == 7
    assert "NOT PROVEN" in done.out
    assert "permission denied" in done.out
    assert "1 message can't be proven\n" in done.err
    assert application.brake.reason() == ""


def test_only_the_messages_of_a_mailbox_and_of_a_time_are_looked_at(
    application: Application, ingest: Ingest
) -> None:
    def audited(*words: str) -> set[str]:
        return {each["record"] for each in ingest("audit", *words, "--json").json[:-1]}

    [of_a] = ingest_messages(application, [PLAIN], age=3 * HOUR)
    [of_b] = ingest_messages(application, [PLAIN], name="b")
    assert audited() == {of_a.id, of_b.id}
    assert audited("a") == {of_a.id}
    assert audited("--since", "2h") == {of_b.id}
    assert audited("a", "--since", "2h") == set()
    assert ingest("audit", "nobody").code == 4


@pytest.mark.parametrize(("sample", "proven"), [(1, 1), (7, 7), (12, 12), (100, 12)])
def test_a_sample_has_as_many_as_asked_for_or_as_there_are(
    application: Application, ingest: Ingest, sample: int, proven: int
) -> None:
    for batch in range(3):
        octets = [messages.small(10 * batch + seed).octets for seed in range(4)]
        ingest_messages(application, octets, name="ab"[batch % 2], age=batch * HOUR)
    *found, summary = ingest("audit", "--sample", str(sample), "--json").json
    assert len({each["record"] for each in found}) == len(found) == proven
    assert (summary["sample"], summary["proven"]) == (sample, proven)


def test_a_sample_of_a_mailbox_has_no_others(application: Application, ingest: Ingest) -> None:
    for name in "ab":
        octets = [messages.small(seed).octets for seed in range(5)]
        ingest_messages(application, octets, name=name)
    *found, _ = ingest("audit", "b", "--sample", "3", "--json").json
    assert [each["mailbox"] for each in found] == ["b"] * 3
    assert "3 messages" in ingest("audit", "b", "--sample", "3").out
    assert "5 messages" in ingest("audit", "b", "--sample", "9").out


def test_a_sample_names_a_commit_object_that_can_not_be_read(
    application: Application, ingest: Ingest, home: Path
) -> None:
    [one] = ingest_messages(application, [PLAIN])
    commit = home / "store" / keys.commit(one.batch)
    commit.write_bytes(commit.read_bytes()[:-1])
    done = ingest("audit", "--sample", "5")
    assert done.code == 7
    assert f"NOT PROVEN  all of batch {one.batch}: {keys.commit(one.batch)} is no ZIP" in done.out


def test_nothing_stored_is_nothing_to_prove(application: Application, ingest: Ingest) -> None:
    del application
    for words in ((), ("--sample", "5")):
        done = ingest("audit", *words)
        assert (done.code, done.out[:20]) == (0, "0 messages (0 B) pro")
