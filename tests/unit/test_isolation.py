"""Processes for suspects: so many at a time, and room again once they have ended."""

from __future__ import annotations

import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from ingest import isolation
from ingest.errors import SessionStopped, SuspectFatal
from ingest.intake.report import SessionReport
from ingest.isolation import MOST_CHILDREN, Isolation
from ingest.model import Lease
from tests.fakes.mail_values import mailbox

# Answers as `ingest isolate` does once there is a file, or dies if that says so.
CHILD = """
import pathlib, sys, time
file = pathlib.Path({file!r})
sys.stdin.buffer.read()
while not file.exists():
    time.sleep(0.01)
if file.read_text() == "die":
    sys.exit(1)
sys.stdout.write('{{"report": {{"mailbox": "mb-a"}}}}')
"""


class Open:
    """A `Stop` that nothing ends."""

    closing = False

    def check(self) -> None:
        pass


class Children:
    """Mailboxes whose suspects are tried at the same time."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.isolation = Isolation()
        self._pool = ThreadPoolExecutor(MOST_CHILDREN + 1)

    def run(self) -> SessionReport:
        one = mailbox("a")
        return self.isolation.run(one, Lease(one.id, one.group, "lease"), Open())

    def fill(self) -> list[Future[SessionReport]]:
        """As many as there is room for; they are at work when this returns."""
        running = [self._pool.submit(self.run) for _ in range(MOST_CHILDREN)]
        deadline = time.monotonic() + 10
        while self.isolation._room._value and time.monotonic() < deadline:
            time.sleep(0.01)
        return running


@pytest.fixture
def children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Children:
    file = tmp_path / "answer"
    command = (sys.executable, "-c", CHILD.format(file=str(file)))
    monkeypatch.setattr(isolation, "COMMAND", command)
    return Children(file)


def test_one_too_many_is_put_off_at_once_and_none_waits(children: Children) -> None:
    running = children.fill()
    begun = time.monotonic()
    with pytest.raises(SessionStopped, match="as there is room for"):
        children.run()
    assert time.monotonic() - begun < 1
    children.file.write_text("answer")
    assert [each.result(10).mailbox for each in running] == ["mb-a"] * MOST_CHILDREN
    assert children.run().mailbox == "mb-a"


def test_those_that_died_leave_their_room(children: Children) -> None:
    children.file.write_text("die")
    for _ in range(MOST_CHILDREN + 1):
        with pytest.raises(SuspectFatal):
            children.run()
