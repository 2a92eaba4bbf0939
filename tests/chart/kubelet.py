"""Runs what a pod of the chart would run, as plain processes of this machine.

Each has exactly the environment that its pod would give it, and PATH, which the image sets. What
differs is where things are: volumes lie in a directory of the test's own, so paths that begin with
a volume's mount path are rewritten, also where a mounted file names them, and the port of metrics
and health is a free one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.chart.pods import Container, container
from tests.chart.render import Object, only
from tests.servers.ports import HOST, free_port

Secrets = Mapping[str, Mapping[str, str]]  # texts by key, by the Secret's name


class Pod:
    """One pod: `start` its container, `probe` it, `run` something else in it, `stop` it.

    Args:
        objects: the release.
        component: which of its pods.
        secrets: those of the namespace.
        node: a directory for what it has.
        here: rewrites what its mounted files say.
    """

    def __init__(
        self,
        objects: list[Object],
        component: str,
        secrets: Secrets,
        node: Path,
        here: Callable[[str], str] = str,
    ) -> None:
        self.component = component
        self._container = container(objects, component, lambda name, key: secrets[name][key])
        self._directory = node / component
        volumes = _Volumes(objects, secrets, here)
        self._mounts = dict(volumes.mounted(self._container, self._directory))
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def path(self, inside: str) -> str:
        """Where that path of the container, or what is at it in a URL, lies here."""
        for mount, directory in self._mounts.items():
            if inside.startswith(f"{mount}/"):
                return inside.replace(mount, str(directory), 1)
        return inside

    def paths(self, text: str) -> str:
        """The text with each path of a mounted file as it lies here; /tmp has none."""
        for mount, directory in self._mounts.items():
            if mount != "/tmp":  # noqa: S108 - the pod's own
                text = text.replace(f"{mount}/", f"{directory}/")
        return text

    def start(self) -> None:
        """Start the container."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(*self._container.arguments),
                env=self._environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, *arguments: str) -> bytes:
        """Run `ingest` in it to its end, as `kubectl exec` does; its standard output."""
        done = subprocess.run(
            self._command(*arguments),
            env=self._environment(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def run_own(self) -> bytes:
        """Run the container to its end; its standard output."""
        return self.run(*(self.path(each) for each in self._container.arguments))

    def passes(self, probe: str) -> bool:
        """Whether the probe of that name succeeds."""
        (main,) = self._container.pod["containers"]
        url = f"http://{HOST}:{self._port}{main[probe]['httpGet']['path']}"
        try:
            with urllib.request.urlopen(url, timeout=main[probe]["timeoutSeconds"]) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> tuple[int, float]:
        """Ask it to end, as a kubelet does; its exit code, and what is left of its grace period."""
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._container.pod["terminationGracePeriodSeconds"]
        code = self._process.wait(self._container.pod["terminationGracePeriodSeconds"])
        return code, deadline - time.monotonic()

    @property
    def log(self) -> Path:
        """What it said."""
        return self._directory / "log"

    def kill(self) -> None:
        """End it and whatever it started."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "ingest.cli", *arguments]

    def _environment(self) -> dict[str, str]:
        own = self._container.environment.items()
        given = {name: self.paths(self.path(value)) for name, value in own}
        if "INGEST_BEAT_PORT" in given:
            given["INGEST_BEAT_PORT"] = str(self._port)
        return {
            "PATH": os.environ["PATH"],
            "INGEST_METRICS_PORT": str(self._port),
            "INGEST_METRICS_HOST": HOST,
            **given,
        }


class _Volumes(NamedTuple):
    """What there is to be mounted."""

    objects: list[Object]
    secrets: Secrets
    here: Callable[[str], str]

    def mounted(self, container: Container, directory: Path) -> Iterator[tuple[str, Path]]:
        """The mount paths, and the directories that were made for them."""
        volumes = {volume["name"]: volume for volume in container.pod["volumes"]}
        (main,) = container.pod["containers"]
        for mount in main["volumeMounts"]:
            place = directory / "volumes" / mount["name"]
            place.mkdir(parents=True)
            for name, text in self._files(volumes[mount["name"]]):
                (place / name).write_text(self.here(text))
                (place / name).chmod(0o440)
            yield mount["mountPath"], place

    def _files(self, volume: Object) -> Iterator[tuple[str, str]]:
        """The names and texts of its files."""
        if source := volume.get("secret"):
            texts = self.secrets[source["secretName"]]
        elif source := volume.get("configMap"):
            texts = only(self.objects, "ConfigMap", source["name"])["data"]
        else:
            return
        for item in source.get("items", [{"key": key, "path": key} for key in texts]):
            yield item["path"], texts[item["key"]]
