"""From an event to the log of its session and back, by the commands that deploy/logs.md gives."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests import messages
from tests.e2e.fleet import Fleet, fleet
from tests.servers.dovecot import Dovecot
from tests.servers.valkey import Valkey

REFERENCE = Path(__file__).parents[2] / "deploy" / "logs.md"


@pytest.fixture
def ours(tmp_path: Path, valkey: Valkey) -> Iterator[Fleet]:
    with fleet(tmp_path, valkey.url, {"INGEST_LOG_SAMPLE": "0"}) as made:
        yield made


def commands() -> list[str]:
    """Those of the section, one for each purpose."""
    section = REFERENCE.read_text().partition("## From an event")[2].partition("\n## ")[0]
    return [dedent(block) for block in re.findall(r"(?:^    .*\n)+", section, re.MULTILINE)]


def told(ours: Fleet, command: str, expect: int = 0, **variables: str) -> list[dict[str, Any]]:
    """The JSON lines that it prints."""
    (ours.directory / "worker.log").write_text(ours.logs())
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment: Mapping[str, str] = {**ours.environment, "PATH": path, **variables}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=ours.directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expect, f"{command}\n{done.stderr}"
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.timeout(120)
def test_an_event_leads_to_the_lines_of_its_session_and_these_to_its_events(
    ours: Fleet, dovecot: Dovecot
) -> None:
    to_session, to_events, to_batch = commands()
    for user in ("lead-a", "lead-b"):
        drop = dovecot.add_user(user)
        drop.deliver_many([messages.small(seed).octets for seed in range(3)])
        ours.add(dovecot, user)
    ours.start("worker")
    ours.start("beat")
    ours.wait(lambda: len(ours.events()) == 6, 30)
    ours.wait(lambda: ours.logs().count('"committed": 3') == 2, 30)
    assert "message_committed" not in ours.logs()

    for event in {event.data.mailbox: event for event in ours.events()}.values():
        lines = told(ours, to_session, ID=event.id)
        assert [line["event"] for line in lines] == ["session_completed"]
        assert (lines[0]["mailbox"], lines[0]["committed"]) == (event.data.mailbox, 3)
        session = lines[0]["session"]
        found = {one["id"] for one in told(ours, to_events, SESSION=session)}
        assert found == {one.id for one in ours.events() if one.data.mailbox == event.data.mailbox}
    assert to_batch.startswith("BATCH=")


@pytest.mark.timeout(120)
def test_an_event_whose_worker_died_leads_to_the_line_of_whoever_found_it(
    ours: Fleet, dovecot: Dovecot
) -> None:
    to_session, _, to_batch = commands()
    drop = dovecot.add_user("lead-c")
    drop.deliver(messages.small(1).octets)
    mailbox = ours.add(dovecot, "lead-c")
    armed = [sys.executable, "-m", "tests.faults.armed", mailbox.group, "commit-written"]
    assert ours.launch(armed).process.wait(30) == -signal.SIGKILL
    assert ours.launch([sys.executable, "-c", FIND, "find"]).process.wait(30) == 0
    [event] = ours.events()
    assert told(ours, to_session, expect=1, ID=event.id) == []
    [line] = told(ours, to_batch, ID=event.id)
    assert (line["event"], line["events"]) == ("batch_read_back", 1)


# What the task does with batches of more than ten minutes.
FIND = """
from ingest.bootstrap import open_application
from ingest.observability.logging import configure
from ingest.settings import from_environment

configure("json")
with open_application(from_environment()) as application:
    application.read_back.compare(application.log.committed(), lambda: None)
    application.relay().drain()
"""
