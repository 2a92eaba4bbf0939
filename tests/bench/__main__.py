"""`make bench`: this program and others against the same Dovecot, in one window, by turns.

Maildrops lie in memory where there is enough of it; what the programs write lies on disk.
"""

from __future__ import annotations

import argparse
import compileall
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

import ingest as package
from tests.bench import sets
from tests.bench.measure import Measured, machine, measure
from tests.bench.programs import OURS, PEERS, Program
from tests.bench.sets import MB, MessageSet
from tests.servers.dovecot import PACKAGE, Dovecot, Maildrop, dovecot_server, program

RESULTS = Path("bench-results")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - memory, not a predictable name
DISK = Path("/var/tmp")  # noqa: S108 - survives a restart, so it is a disk; names are random
SETS_OCTETS = 2_000 * MB

Figures = Mapping[str, Sequence[Measured]]  # by name of the program

console = Console()


def main() -> None:
    """Measure, print a table for each set, keep the figures."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--rounds", type=int, default=5)
    rounds: int = parser.parse_args().rounds
    if program() is None:
        sys.exit(f"the bench needs Dovecot: apt-get install {PACKAGE}")
    compileall.compile_dir(package.__path__[0], quiet=1)  # as pip does, but for an editable one
    programs = _installed()
    RESULTS.mkdir(exist_ok=True)
    facts = machine()
    raw: dict[str, Figures] = {}
    with dovecot_server(_mail_directory()) as dovecot:
        directory = dovecot.directory / "made"
        directory.mkdir()
        for messages in sets.compared(directory):
            raw[messages.name] = _by_turns(programs, messages, rounds, dovecot)
            console.print(_table(messages.name, raw[messages.name]))
        if OURS in programs:
            for messages in sets.memory(directory):
                raw[f"memory: {messages.name}"] = _by_turns([OURS], messages, 1, dovecot)
                peak = raw[f"memory: {messages.name}"][OURS.name][0].peak
                console.print(f"peak memory of {OURS.name}, {messages.name}: {_megabytes(peak)}")
    file = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    file.write_bytes(
        msgspec.json.format(msgspec.json.encode({"machine": facts, "rounds": rounds, "raw": raw}))
    )
    console.print(f"raw figures: {file}")


def _installed() -> list[Program]:
    """Ours first: the others are told as multiples of it."""
    for absent in (each for each in PEERS if not each.is_installed()):
        console.print(f"without {absent.name}: apt-get install {absent.package}")
    return [each for each in (OURS, *PEERS) if each.is_installed()]


def _mail_directory() -> Path | None:
    """Memory, where there is enough of it."""
    if SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > SETS_OCTETS:
        return SHARED_MEMORY
    console.print("the maildrops lie on disk: /dev/shm is missing or small")
    return None


def _by_turns(
    programs: Sequence[Program], messages: MessageSet, rounds: int, dovecot: Dovecot
) -> Figures:
    """Each program once a round, each time with a maildrop just filled."""
    figures: dict[str, list[Measured]] = {each.name: [] for each in programs}
    maildrop = dovecot.add_user("bench")
    for _ in range(rounds):
        for each in programs:
            maildrop.clear()
            maildrop.link(messages.files)
            if measured := _one_run(each, dovecot, maildrop):
                figures[each.name].append(measured)
    maildrop.clear()
    return figures


def _one_run(each: Program, dovecot: Dovecot, maildrop: Maildrop) -> Measured | None:
    """What it took; None where another program failed, which is said and counts for nothing."""
    with tempfile.TemporaryDirectory(dir=DISK) as temporary:
        directory = Path(temporary)
        command = each.prepare(dovecot, maildrop, directory)
        measured = measure(command.arguments, command.environment, directory)
        left = maildrop.count()
        if measured.exit_code != 0 or left:
            output = (directory / "output").read_text(errors="replace")[-2000:]
            failure = f"{each.name} ended with {measured.exit_code}, left {left} messages: {output}"
            if each is OURS:
                sys.exit(failure)
            console.print(failure)
            return None
        return measured


def _table(title: str, figures: Figures) -> Table:
    base = next(iter(figures))
    table = Table(title=title, title_justify="left", box=box.SIMPLE, caption=f"x: times {base}'s")
    for name in ("program", "wall s", "from", "to", "x wall", "CPU s", "x CPU", "peak"):
        table.add_column(name, justify="left" if name == "program" else "right", no_wrap=True)
    base_wall, base_cpu = _medians(figures[base])
    for name, runs in figures.items():
        if not runs:
            table.add_row(name, "failed")
            continue
        walls = [run.wall for run in runs]
        wall, cpu = _medians(runs)
        table.add_row(
            name,
            f"{wall:.2f}",
            f"{min(walls):.2f}",
            f"{max(walls):.2f}",
            f"{wall / base_wall:.1f}",
            f"{cpu:.2f}",
            f"{cpu / base_cpu:.1f}",
            _megabytes(max(run.peak for run in runs)),
        )
    return table


def _medians(runs: Sequence[Measured]) -> tuple[float, float]:
    return statistics.median(run.wall for run in runs), statistics.median(run.cpu for run in runs)


def _megabytes(octets: int) -> str:
    return f"{octets / MB:,.0f} MB"


main()
