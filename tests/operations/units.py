"""Runs what systemd would run for a unit of ours, as a plain process of this machine.

With exactly the environment that the unit gives it, and PATH. What differs is where things are: the
host's file system lies in a directory of the test's own, and nothing is confined.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

DIRECTORY = Path(__file__).parents[2] / "deploy" / "systemd"
PROGRAM = "/opt/mail-ingest/bin/ingest"


def read(name: str, directory: Path = DIRECTORY) -> dict[str, list[str]]:
    """What a unit file says: all values of each name, in order."""
    said = defaultdict[str, list[str]](list)
    for line in (directory / name).read_text().splitlines():
        found = re.fullmatch(r"(\w+)=(.*)", line)
        if found:
            said[found[1]].append(found[2])
    return said


class Service:
    """One service of a host: `start` it, hear what it tells systemd, `stop` it.

    Args:
        name: of the unit file.
        host: what that host has as its root directory.
        instance: what stands behind the @.
    """

    def __init__(self, name: str, host: Path, instance: str = "") -> None:
        self.unit = read(name, host / "etc/systemd/system")
        self._instance = instance
        self._host = host
        self._own = host / name.replace("@", f"@{instance}")
        self._own.mkdir()
        self.log = self._own / "log"
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._short = tempfile.TemporaryDirectory(prefix="sd")  # a socket's path has a limit
        self._notify = f"{self._short.name}/notify"
        self._manager.bind(self._notify)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """What ExecStart= says."""
        for credential in self.unit["LoadCredential"]:
            name, _, source = credential.partition(":")
            shutil.copy(self._path(source), self._own / name)
        environment = self._environment()
        (command,) = self.unit["ExecStart"]
        program, *arguments = re.sub(
            r"\$\{(\w+)\}", lambda found: environment[found[1]], command
        ).split()
        assert program == PROGRAM
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ingest.cli", *arguments],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def heard(self, state: str, seconds: float) -> bool:
        """Whether it tells systemd so within that time; what else it says is passed over."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._manager.settimeout(left)
            try:
                if self._manager.recv(4096).decode() == state:
                    return True
            except TimeoutError:
                return False
        return False

    def stop(self) -> tuple[int, float]:
        """As `systemctl stop`: its exit code, and what is left of TimeoutStopSec= in seconds."""
        assert self._process
        limit = float(self.unit["TimeoutStopSec"][0])
        deadline = time.monotonic() + limit
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(limit), deadline - time.monotonic()

    def kill(self) -> None:
        """End it and whatever it started."""
        self._manager.close()
        self._short.cleanup()
        if self._process:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)

    def _environment(self) -> dict[str, str]:
        given = {"PATH": os.environ["PATH"], "INGEST_METRICS_HOST": "127.0.0.1"}
        for line in self.unit["Environment"]:
            given |= dict(pair.split("=", 1) for pair in self._expanded(line).split())
        for file in self.unit["EnvironmentFile"]:
            path = self._path(self._expanded(file.removeprefix("-")))
            if path.exists() or not file.startswith("-"):
                given |= variables(path)
        if self.unit["Type"] == ["notify"]:
            given["NOTIFY_SOCKET"] = self._notify
        return given

    def _expanded(self, text: str) -> str:
        of = {"%i": self._instance, "%d": str(self._own), "%S": str(self._path("/var/lib"))}
        return re.sub("%[idS]", lambda found: of[found[0]], text)

    def _path(self, path: str) -> Path:
        return self._host / path.removeprefix("/")


def variables(path: Path) -> dict[str, str]:
    """What systemd reads in an environment file of ours."""
    return dict(re.findall(r'^(\w+)="(.*)"$', path.read_text(), re.MULTILINE))
