"""A message that kills whoever parses it, in real processes."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.events.schema import REPARSED
from tests import messages
from tests.e2e.fleet import Fleet, fleet, stored
from tests.servers.dovecot import Dovecot, Maildrop
from tests.servers.valkey import Valkey

POISON = b"Subject: poison\r\nX-Poison: yes\r\n\r\nboom\r\n"
PARSER = Path(__file__).with_name("poison")


@pytest.fixture
def ours(tmp_path: Path, valkey: Valkey) -> Iterator[Fleet]:
    path = f"{PARSER}:{Path(__file__).parents[2]}"
    with fleet(tmp_path, valkey.url, {"INGEST_LEASE_SECONDS": "2", "PYTHONPATH": path}) as made:
        yield made


@pytest.mark.timeout(120)
def test_it_kills_one_worker_once_and_is_stored_unparsed_while_the_others_go_on(
    ours: Fleet, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    harmless = [messages.small(seed).octets for seed in range(20)]
    maildrop.deliver_many([*harmless[:10], POISON, *harmless[10:]])
    mailbox = ours.add(dovecot, maildrop.name)
    command = [sys.executable, "-m", "tests.faults.armed", mailbox.group]
    assert ours.launch(command).process.wait(60) == -signal.SIGKILL
    worker = ours.launch(command)
    ours.wait(lambda: not maildrop.count())
    assert worker.process.poll() is None
    # It killed only what was there for it.
    assert worker.log.read_text().count('"suspect_fatal"') >= 2
    with ours.store() as store:
        defects = {
            record.sha256: [defect.name for defect in record.defects] for record in stored(store)
        }
    poison = hashlib.sha256(POISON).hexdigest()
    assert defects.pop(poison) == ["not-parsed"]
    assert list(defects.values()) == [[]] * len(harmless)
    worker.kill()
    assert_it_is_had_back_from_quarantine(ours)


def assert_it_is_had_back_from_quarantine(ours: Fleet) -> None:
    [listed] = json.loads(ours.run("quarantine", "list", "--json"))
    record = listed["record"]
    assert ours.run("quarantine", "export", record).encode() == POISON.replace(b"\r\n", b"\n")
    ours.run("quarantine", "retry", record, expect=-signal.SIGKILL)
    assert json.loads(ours.run("quarantine", "list", "--json")) == [listed]
    del ours.environment["PYTHONPATH"]  # the parser is mended
    version = json.loads(ours.run("quarantine", "retry", record, "--json"))["version"]
    assert json.loads(ours.run("quarantine", "list", "--json")) == []
    [event] = [event for event in ours.events() if event.type == REPARSED]
    assert (event.data.record, event.data.version_of) == (version, record)
    assert event.data.envelope.subject == "poison"
    ours.run("quarantine", "show", record, expect=1)
