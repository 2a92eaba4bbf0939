from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
from rich.cells import cell_len

from ingest.bootstrap import Application
from ingest.cli.children import Child, Children
from ingest.cli.demo.run import _peak_memory, _problems
from ingest.cli.demo.server import DemoServer, Waiting
from ingest.cli.demo.stage import Stage, log_of
from ingest.cli.events import describe
from ingest.events.schema import CloudEvent, Message, PartReference
from ingest.model import Defect, Envelope, Mailbox
from tests.fakes.mail_values import mailbox


def event(of: Mailbox, number: int = 1, **facts: object) -> CloudEvent:
    message = {
        "mailbox": of.id,
        "tenant": of.tenant,
        "record": f"r{number}",
        "octets": 1200,
        "sha256": "0" * 64,
        "envelope": Envelope(subject="Six tins", sender=("Ana <ana@a.example>",)),
    }
    return CloudEvent(
        id=f"e{number}",
        source="/mail-ingest/demo",
        type="mail-ingest.message.ingested.v1",
        time=datetime(2026, 10, 5, tzinfo=UTC),
        sequence="1",
        dataref="file:///x",
        data=Message(**(message | facts)),  # type: ignore[arg-type]  # fields by name
    )


class Server:
    """As much of the server as is asked for."""

    def __init__(self, left: int) -> None:
        self._left = left

    def waiting(self, _user: str) -> Sequence[Waiting]:
        return [Waiting("u", b"")] * self._left


@pytest.fixture
def children() -> Iterator[Children]:
    with Children(grace_seconds=10, tell=print) as running:
        yield running


def stage(home: Path, children: Children, *, left: int = 0, code: str) -> Stage:
    """A stage whose worker runs that code."""
    with log_of(home, "worker").open("wb") as log:
        arguments = [sys.executable, "-c", code]
        worker = children.add(Child("worker", arguments, environment={}, output=log))
    return Stage(
        home=home,
        settings={},
        server=cast("DemoServer", Server(left)),
        application=cast("Application", None),
        mailboxes={"a": mailbox("a")},
        worker=worker,
        programs=(worker,),
    )


RUNNING = "import time; time.sleep(60)"


def test_all_is_well_where_everything_came_and_nothing_is_left(
    tmp_path: Path, children: Children
) -> None:
    arrived = [event(mailbox("a"), number) for number in (1, 2)]

    assert _problems(stage(tmp_path, children, code=RUNNING), arrived, {"a": 2}) == []


def test_a_message_that_did_not_come_is_a_problem(tmp_path: Path, children: Children) -> None:
    problems = _problems(stage(tmp_path, children, code=RUNNING), [event(mailbox("a"))], {"a": 2})

    assert problems == ["a: 1 of 2 messages arrived"]


def test_a_message_that_is_still_on_the_server_is_a_problem(
    tmp_path: Path, children: Children
) -> None:
    left = stage(tmp_path, children, left=1, code=RUNNING)

    assert _problems(left, [event(mailbox("a"))], {"a": 1}) == ["a: 1 message left on the server"]


def test_a_worker_that_ended_is_a_problem_with_the_end_of_its_log(
    tmp_path: Path, children: Children
) -> None:
    died = stage(tmp_path, children, code="raise SystemExit('no disk')")
    died.worker.process.wait(20)

    (problem,) = _problems(died, [], {"a": 0})
    assert problem == "worker ended:\nno disk"


def test_the_peak_memory_of_a_process_is_in_octets() -> None:
    assert 1_000_000 < _peak_memory(os.getpid()) < 100_000_000_000
    assert _peak_memory(0) == 0


def test_an_event_is_one_line_that_a_message_can_not_break() -> None:
    hostile = event(
        mailbox("a"),
        envelope=Envelope(subject="line\nbreak \x1b[2J", sender=("x\u202ey@z.example",)),
        parts=(
            PartReference(
                path="1", content_type="a/b", filename="f.pdf", octets=1, sha256="0" * 64
            ),
        ),
        defects=(Defect("header-line-invalid"),),
    )

    line = describe(hostile, "orders")

    assert line.startswith("orders           1.2 kB  line break \ufffd[2J")
    assert line.endswith("x\ufffdy@z.example, 1 file, 1 defect")
    assert line.isprintable()


def test_lines_of_events_stand_below_each_other_whatever_their_script() -> None:
    subjects = ("Six tins", "", "煎茶の注文", "a" * 100, "煎" * 100)

    lines = [
        describe(event(mailbox("a"), envelope=Envelope(subject=subject)), "orders")
        for subject in subjects
    ]

    assert all(line.endswith("  (no sender)") for line in lines)
    assert len({cell_len(line) for line in lines}) == 1
    assert "(no subject)" in lines[1]
