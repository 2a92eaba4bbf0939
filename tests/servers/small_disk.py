"""A disk with little room on it, for programs that must say so plainly when it is full."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

_OCTETS = 32 * 1024 * 1024
_FILLER = "filler"
_ULIMIT_BLOCK = 512  # octets, in a POSIX shell

# Whoever has no right to mount gets it inside a user namespace, and where that is forbidden too
# (as in many containers) there is no disk of our own to be had.
_UNSHARE = "unshare"
_NAMESPACES = (["--mount"], ["--user", "--map-root-user", "--mount"])
_MOUNT = 'mount -t tmpfs -o "size=$1" tmpfs "$2" && echo mounted && exec cat'


class SmallDisk:
    """A file system of its own, filled up until only `room` octets are free.

    Without the right to mount one it is a plain directory, and a program that is started with
    `command` can't make a file there, or elsewhere, that is larger than the room.
    """

    def __init__(self, path: Path, room: int, *, mounted: bool) -> None:
        self.path = path
        self.mounted = mounted
        self._limit: int | None = None
        self.fill(room)

    def fill(self, room: int) -> None:
        """Leave so many octets free."""
        self.make_room()
        if not self.mounted:
            self._limit = room
            return
        found = os.statvfs(self.path)
        with (self.path / _FILLER).open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, found.f_bavail * found.f_frsize - room)

    def make_room(self) -> None:
        """Leave nearly all of it free."""
        self._limit = None
        (self.path / _FILLER).unlink(missing_ok=True)

    def command(self, *arguments: str) -> list[str]:
        """The arguments to start a program with that is to find no more than the room."""
        if self._limit is None:
            return [*arguments]
        blocks = self._limit // _ULIMIT_BLOCK
        return ["sh", "-c", f'ulimit -f {blocks} && exec "$@"', "sh", *arguments]


@contextlib.contextmanager
def small_disk(room: int, *, mountable: bool = True) -> Iterator[SmallDisk]:
    """A disk that lives as long as the block. Its path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="disk") as directory, contextlib.ExitStack() as stack:
        for namespace in _NAMESPACES if mountable else ():
            root = stack.enter_context(_mounted(Path(directory), namespace))
            if root:
                yield SmallDisk(root, room, mounted=True)
                return
        yield SmallDisk(Path(directory), room, mounted=False)


@contextlib.contextmanager
def _mounted(directory: Path, namespace: Sequence[str]) -> Iterator[Path | None]:
    """Where a new file system can be reached, which a process of its own namespace holds."""
    try:
        holder = subprocess.Popen(
            [_UNSHARE, *namespace, "sh", "-c", _MOUNT, "sh", str(_OCTETS), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        yield None
        return
    with holder:
        try:
            assert holder.stdout
            mounted = holder.stdout.readline() == b"mounted\n"
            yield Path(f"/proc/{holder.pid}/root{directory}") if mounted else None
        finally:
            holder.kill()
