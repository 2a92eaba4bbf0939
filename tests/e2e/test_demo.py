"""`ingest demo`, as somebody runs it who has just installed the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


def ingest(
    *words: str, environment: dict[str, str], code: int = 0
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "ingest.cli", *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("INGEST_")
    }
    # Short, for the path of a unix socket has a limit.
    temporary = Path("/tmp") / f"demo-{os.getpid()}"  # noqa: S108 - as said
    temporary.mkdir()
    yield {**inherited, "TMPDIR": str(temporary), "HOME": str(tmp_path)}
    shutil.rmtree(temporary)


def check(output: str) -> None:
    rows = {line.split()[0]: line.split() for line in output.splitlines() if line}
    assert rows["orders"][1] == "11"
    assert rows["invoices"][1] == "10"
    assert rows["support"][1] == "9"
    for user in ("orders", "invoices", "support"):
        assert rows[user][-2] == rows[user][1], "one event for each message"
        assert rows[user][-1] == "0", "nothing is left on the server"
    assert re.search(r"all 43,\d{3},\d{3} octets are those that the server had", output)
    assert "peak memory" in output


def test_the_demo_empties_three_mailboxes_and_cleans_up(environment: dict[str, str]) -> None:
    done = ingest("demo", environment=environment)

    check(done.stdout)
    assert done.stderr == ""
    assert list(Path(environment["TMPDIR"]).iterdir()) == []


def test_what_the_demo_keeps_can_be_looked_at(environment: dict[str, str], tmp_path: Path) -> None:
    done = ingest("demo", "--keep", environment=environment)

    check(done.stdout)
    exported = dict(re.findall(r"^  export (\w+)=(\S+)$", done.stdout, re.MULTILINE))
    there = {**environment, **exported}
    listed = json.loads(
        ingest("message", "list", "--limit", "50", "--json", environment=there).stdout
    )
    assert len(listed) == 30
    invoice = next(each for each in listed if each["subject"] == "Invoice H-2041")
    ingest("message", "save", invoice["id"], str(tmp_path / "parts"), environment=there)
    assert (tmp_path / "parts" / "H-2041.pdf").read_bytes().startswith(b"%PDF")
    events = ingest("events", "tail", "--from-start", "--no-follow", "--json", environment=there)
    assert len(events.stdout.splitlines()) == 30
    assert ingest("doctor", environment=there).stderr == ""


def test_the_demo_stores_over_s3_as_well(environment: dict[str, str]) -> None:
    done = ingest("demo", "--s3", environment=environment)

    check(done.stdout)


def test_a_missing_seaweedfs_says_how_to_get_it(
    environment: dict[str, str], tmp_path: Path
) -> None:
    # The same Python by another path, beside which there is no weed.
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    program = "import sys; from ingest.cli import app; sys.exit(app.run(['demo', '--s3']))"
    done = subprocess.run(
        [str(python), "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={
            **environment,
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        },
    )

    assert done.returncode == 3
    assert "pip install '.[seaweedfs]'" in done.stderr
    assert list(Path(environment["TMPDIR"]).iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_interrupted_leaves_nothing_behind(
    number: signal.Signals, environment: dict[str, str]
) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "ingest.cli", "demo"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if "Invoice H-2041" in line:
            demo.send_signal(number)
            break
    demo.stdout.read()

    assert demo.wait(60) == 128 + number
    demo.stdout.close()
    assert list(Path(environment["TMPDIR"]).iterdir()) == []
    assert processes_with(environment["TMPDIR"]) == []


def processes_with(directory: str) -> list[str]:
    """Whoever has this directory in its environment or arguments."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            continue
        if directory.encode() in told:
            found.append(told.decode(errors="replace"))
    return found
