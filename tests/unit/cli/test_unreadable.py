"""What commands say of a mailbox whose settings only a newer version can read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from ulid import ULID

from ingest.bootstrap import Application
from ingest.cli.sign_in import register
from tests.fakes.mail_values import mailbox, record
from tests.unit.cli.conftest import Ingest

SAID = "mailbox 'a' (mb-a) has settings that this version can't read: Invalid enum value 'quantum'"
REMEDY = "a newer version wrote them: upgrade this one"


@pytest.fixture(autouse=True)
def unreadable(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mailbox `a` is of tomorrow; `b` is beside it, and its password can be read."""
    monkeypatch.setenv("PASSWORD", "sesame")
    for name in "ab":
        one = msgspec.structs.replace(mailbox(name), password="env:PASSWORD")
        register(application, one)
    fields = msgspec.json.decode(application.redis.hget("mail-ingest:mailboxes", "mb-a") or b"")
    tomorrow = msgspec.json.encode({**fields, "tls": "quantum"})
    application.redis.hset("mail-ingest:mailboxes", "mb-a", tomorrow)
    application.store.put("mailboxes/mb-a.json", tomorrow)


def test_the_others_are_listed_and_it_is_named(ingest: Ingest) -> None:
    for words in ((), ("--json",)):
        listed = ingest("mailbox", "list", *words)
        assert listed.code == 0
        assert "b@example.org" in listed.out or "b%40example.org" in listed.out
        assert SAID in listed.err
        assert REMEDY in listed.err


def test_doctor_finds_it(ingest: Ingest) -> None:
    found = ingest("doctor", "--json")
    assert found.code == 4
    (finding,) = [each for each in json.loads(found.out) if each["verdict"] == "wrong"]
    assert finding["subject"] == "mailboxes"
    assert finding["message"].startswith(SAID)
    assert finding["remedy"] == REMEDY


def test_its_password_is_not_said_to_be_sealed_anew(ingest: Ingest) -> None:
    resealed = ingest("mailbox", "reseal")
    assert resealed.code == 4
    assert SAID in resealed.err


def test_what_is_stored_of_it_is_read_back_all_the_same(
    application: Application, ingest: Ingest
) -> None:
    batch = str(ULID.from_datetime(datetime.now(UTC) - timedelta(hours=30)))
    application.log.commit(batch, [(record("one", unique_id="one", batch=batch), b"one")])
    checkpoints = application.checkpoints
    checkpoints.write(datetime.now(UTC), checkpoints.look())  # every sink has all of it
    assert ingest("reconcile").code == 0
    assert set(application.ledger.known("mb-a", ["one"])) == {"one"}
