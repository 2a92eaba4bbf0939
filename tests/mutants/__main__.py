"""`make mutants`: does the exam catch what it is there to catch?

Each fault is put into a copy of the project, where the parts of the exam that must see it are run.
Exits with 1 if one survives.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from tests.mutants.faults import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
PYTEST = (sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider")
FAILED = re.compile(r"^(?:FAILED|ERROR) [^:]+::(.+?)(?: - .*)?$", re.MULTILINE)
COPIED = ("ingest", "tests", "pyproject.toml", "README.md", "CONTRIBUTING.md")
SECONDS = 600

console = Console()


def main(wanted: Sequence[str]) -> int:
    """Try every mutant, or those whose names have one of the words in them."""
    chosen = [each for each in MUTANTS if not wanted or any(word in each.name for word in wanted)]
    survivors = 0
    table = Table(box=box.SIMPLE)
    for name in ("fault", "caught by", "s"):
        table.add_column(name, justify="right" if name == "s" else "left", overflow="fold")
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        for mutant in chosen:
            started = time.monotonic()
            with console.status(mutant.name):
                caught = examined(mutant, Path(temporary) / "copy")
            survivors += not caught
            seconds = f"{time.monotonic() - started:.0f}"
            table.add_row(mutant.name, caught or "[red]nothing[/red]", seconds)
    console.print(table)
    console.print(f"{len(chosen) - survivors} of {len(chosen)} caught")
    return 1 if survivors else 0


def examined(mutant: Mutant, copy: Path) -> str:
    """The first test that fails on the mutant; empty where none does."""
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for name in COPIED:
        place = ROOT / name
        (shutil.copytree if place.is_dir() else shutil.copy)(place, copy / name)
    file = copy / mutant.file
    code = file.read_text()
    if code.count(mutant.before) != 1:
        sys.exit(f"{mutant.name}: {mutant.file} does not have its code (once)")
    file.write_text(code.replace(mutant.before, mutant.after))
    for part in mutant.exam:
        done = subprocess.run(
            [*PYTEST, part],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        failed = FAILED.search(done.stdout)
        if done.returncode == 1 and failed:
            return failed[1]
        if done.returncode:
            sys.exit(f"{mutant.name}: {part} could not be run:\n{done.stdout[-2000:]}{done.stderr}")
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
