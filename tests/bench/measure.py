"""What one whole process takes, and on what machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

LAUNCHER = Path(__file__).with_name("launch.py")
RUN_SECONDS = 600


class Measured(msgspec.Struct, frozen=True):
    """One run of one command, children that it waited for included."""

    exit_code: int
    wall: float  # seconds
    cpu: float  # seconds, user and system
    peak: int  # octets resident at once in its largest process; at least the launcher's


def measure(command: Sequence[str], environment: Mapping[str, str], directory: Path) -> Measured:
    """Run a command to its end, its output into `directory`/output."""
    os.sync()  # what the run before left to be written is not this one's
    report = directory / "measured.json"
    with (directory / "output").open("wb") as output:
        subprocess.run(
            [sys.executable, "-I", "-S", str(LAUNCHER), str(report), *command],
            env={**os.environ, **environment},
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=RUN_SECONDS,
            check=True,
        )
    return msgspec.json.decode(report.read_bytes(), type=Measured)


def machine() -> dict[str, str | int | float]:
    """The facts that figures depend on."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "system": platform.platform(),
        "processor": model,
        "cores": os.cpu_count() or 0,
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load": os.getloadavg()[0],  # of the last minute, before the bench began
        "python": platform.python_version(),
    }
