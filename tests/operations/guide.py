"""The guides' commands, and an operator who types them."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.e2e.fleet import Fleet

ROOT = Path(__file__).parents[2]
OPERATIONS = ROOT / "deploy" / "operations.md"
INSTALLATION = ROOT / "deploy" / "README.md"

PROGRAMS = {
    "ingest": "-m ingest.cli",
    "aws": "-m tests.operations.stand_ins aws",
    "redis-cli": "-m tests.operations.stand_ins redis-cli",
}


class Block(NamedTuple):
    """One fenced block of commands."""

    heading: str
    number: int  # from 0, of those under the heading
    text: str


def blocks(guide: Path, language: str = "sh") -> Iterator[Block]:
    """All blocks of a language in a guide."""
    heading, number = "", 0
    found = re.finditer(
        rf"^#+ ([^\n]+)$|^```{language}\n(.*?)^```$", guide.read_text(), re.MULTILINE | re.DOTALL
    )
    for each in found:
        if each[1]:
            heading, number = each[1], 0
        else:
            yield Block(heading, number, each[2])
            number += 1


def block(guide: Path, heading: str, number: int = 0) -> str:
    """The commands of one block."""
    (text,) = (
        each.text for each in blocks(guide) if (each.heading, each.number) == (heading, number)
    )
    return text


class Operator:
    """Types what a guide says into a shell where a fleet's settings are.

    Args:
        ours: the fleet.
        variables: what the guide's commands refer to.
        places: where the paths of the guide lie here.
    """

    def __init__(
        self,
        ours: Fleet,
        variables: Mapping[str, str] | None = None,
        places: Mapping[str, str] | None = None,
    ) -> None:
        programs = ours.directory / "programs"
        programs.mkdir(exist_ok=True)
        for name, module in PROGRAMS.items():
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
            (programs / name).chmod(0o755)
        self._path = f"{programs}:{ours.environment['PATH']}"
        self._ours = ours
        self._variables = variables or {}
        self._places = places or {}

    def types(self, heading: str, number: int = 0, *, code: int = 0, password: str = "") -> str:
        """Run a block of commands; what they said. It must end with that exit code.

        `password`: at a terminal, where it is typed when it is asked for.
        """
        text = block(OPERATIONS, heading, number)
        for path, here in self._places.items():
            text = text.replace(path, here)
        terminal, ours = pty.openpty() if password else (-1, subprocess.PIPE)
        with subprocess.Popen(
            ["sh", "-eu", "-c", text],
            env={**self._ours.environment, **self._variables, "PATH": self._path},
            cwd=ROOT,
            stdin=ours,
            stdout=subprocess.PIPE,
            stderr=ours if password else subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as shell:
            if password:
                _type(terminal, password)
            said, _ = shell.communicate(timeout=240)
        assert shell.returncode == code, (text, shell.returncode, said)
        return str(said)


def _type(terminal: int, password: str) -> None:
    """Answer when a password is asked for."""
    asked = b""
    while b"Password" not in asked:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, asked
        asked += os.read(terminal, 1000)
    os.write(terminal, password.encode() + b"\n")
