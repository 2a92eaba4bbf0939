from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.cli.children import Child, Children


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    # A zombie is dead: nobody but its parent minds.
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


SLEEP = "import time\ntime.sleep(60)"
NOTE_AND_SLEEP = (
    "import sys, os, time\nopen(sys.argv[1], 'a').write(f'{os.getpid()}\\n')\ntime.sleep(60)"
)
WITH_GRANDCHILD = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "open(sys.argv[1], 'w').write(str(child.pid))\ntime.sleep(60)"
)
DEAF = (
    "import signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "open(sys.argv[1], 'w').write('deaf')\ntime.sleep(60)"
)


def test_leaving_the_block_stops_the_children() -> None:
    with Children(grace_seconds=10, tell=print) as children:
        child = children.add(Child("sleeper", python(SLEEP), environment={}))

    assert child.process.returncode == -signal.SIGTERM


def test_what_a_child_started_ends_with_it(tmp_path: Path) -> None:
    noted = tmp_path / "pid"
    with Children(grace_seconds=10, tell=print) as children:
        children.add(Child("parent", python(WITH_GRANDCHILD, str(noted)), environment={}))
        eventually(lambda: noted.exists() and noted.read_text() != "")

    eventually(lambda: not alive(int(noted.read_text())))


def test_a_child_that_ignores_sigterm_is_killed_after_the_grace_period(tmp_path: Path) -> None:
    noted = tmp_path / "ready"
    with Children(grace_seconds=0.2, tell=print) as children:
        child = children.add(Child("deaf", python(DEAF, str(noted)), environment={}))
        eventually(noted.exists)

    assert child.process.returncode == -signal.SIGKILL


def test_a_child_that_dies_is_started_again_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.cli.children._FIRST_PAUSE", 0.1)
    noted = tmp_path / "pids"
    told: list[str] = []
    ended = threading.Event()
    with Children(grace_seconds=10, tell=told.append) as children:
        child = children.add(Child("worker", python(NOTE_AND_SLEEP, str(noted)), environment={}))
        watcher = threading.Thread(target=children.keep_running, args=(ended,))
        watcher.start()
        eventually(lambda: noted.exists() and len(noted.read_text().split()) == 1)
        os.kill(child.pid, signal.SIGKILL)
        eventually(lambda: len(noted.read_text().split()) == 2)
        ended.set()
        watcher.join()

    assert told == ["worker ended (signal SIGKILL); again in 0 s"]
    assert child.restarts == 1


def test_pauses_between_restarts_grow_to_a_limit() -> None:
    with Children(grace_seconds=10, tell=print) as children:
        child = children.add(Child("worker", python(SLEEP), environment={}))
        assert [child.next_pause() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_a_child_gets_the_environment_given_to_it(tmp_path: Path) -> None:
    noted = tmp_path / "home"
    code = "import os, sys; open(sys.argv[1], 'w').write(os.environ['INGEST_HOME'])"
    with Children(grace_seconds=10, tell=print) as children:
        child = children.add(
            Child("once", python(code, str(noted)), environment={"INGEST_HOME": "/here"})
        )
        assert child.process.wait(20) == 0

    assert noted.read_text() == "/here"
