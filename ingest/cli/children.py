"""Child processes of a command: each a process group of its own, stopped with all it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import IO, Self

_FIRST_PAUSE = 1.0  # seconds before a child that died is started again; doubled each time,
_LONGEST_PAUSE = 30.0  # up to this,
_STEADY_SECONDS = 60.0  # and reset once it has run for so long
_POLL_SECONDS = 0.2


class Child:
    """One program that should keep running."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        output: IO[bytes] | None = None,
    ) -> None:
        """Start it.

        Args:
            name: what people call it.
            arguments: the program and its arguments.
            environment: added to our own.
            output: where its standard output and error go; ours if None.
        """
        self.name = name
        self.arguments = list(arguments)
        self._environment = {**os.environ, **environment}
        self._output = output
        self._pause = _FIRST_PAUSE
        self.restarts = 0
        self._start()

    def _start(self) -> None:
        self._started = time.monotonic()
        # Its own session: Ctrl-C reaches us alone, and we stop it in order.
        self.process = subprocess.Popen(  # noqa: S603 - our own programs
            self.arguments,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The id of the process that runs now."""
        return self.process.pid

    def next_pause(self) -> float:
        """How long to wait before starting it again, in seconds."""
        if time.monotonic() - self._started > _STEADY_SECONDS:
            self._pause = _FIRST_PAUSE
        pause, self._pause = self._pause, min(self._pause * 2, _LONGEST_PAUSE)
        return pause

    def start_again(self) -> None:
        """Start it once more, after it died."""
        self.restarts += 1
        self._start()

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to it and to all it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


class Children:
    """Programs that run while the block does; one that dies is started again."""

    def __init__(self, *, grace_seconds: float, tell: Callable[[str], None]) -> None:
        self._grace = grace_seconds
        self._tell = tell
        self._children: list[Child] = []

    def add(self, child: Child) -> Child:
        """Keep this one running."""
        self._children.append(child)
        return child

    def keep_running(self, ended: threading.Event, look: Callable[[], None] = lambda: None) -> None:
        """Restart what dies, until `ended` is set; `look` sees to what is no child, as often."""
        due: dict[Child, float] = {}
        while not ended.wait(_POLL_SECONDS):
            look()
            for child in self._children:
                code = child.process.poll()
                if code is None:
                    continue
                if child not in due:
                    pause = child.next_pause()
                    due[child] = time.monotonic() + pause
                    self._tell(f"{child.name} ended ({_ending(code)}); again in {pause:.0f} s")
                elif time.monotonic() >= due[child]:
                    del due[child]
                    child.signal_group(signal.SIGKILL)  # what the dead one left behind
                    child.start_again()

    def stop(self) -> None:
        """Ask all to end, wait for the grace period, and end those that did not."""
        for child in self._children:
            child.signal_group(signal.SIGTERM)
        deadline = time.monotonic() + self._grace
        for child in self._children:
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))
            child.signal_group(signal.SIGKILL)
            child.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _ending(code: int) -> str:
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def ingest_arguments(*words: str) -> list[str]:
    """The arguments that run `ingest` itself, with the Python that runs us."""
    return [sys.executable, "-m", "ingest.cli", *words]
