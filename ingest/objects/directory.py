"""The object store for one machine: a directory, with the semantics of S3.

An object is written aside, in `.uploads` on the same file system, made durable by fsync, renamed
into place, and then its directory is made durable too: it is there whole or not at all.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import threading
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Self

from ulid import ULID

from ingest.errors import ObjectMissing, StoreError, StoreFull, StoreRefused, StoreUnavailable
from ingest.failpoints import reach
from ingest.intake.ports import StoredObject
from ingest.model import Octets
from ingest.objects import keys
from ingest.objects.probe import Probe, attempt

_UPLOADS = ".uploads"  # no key can begin like this
_READ_BLOCK = 256 * 1024
_WRITE_BUFFER = 128 * 1024  # joins small writes; larger ones pass by it
_ATTEMPTS = 20  # at a rename that races with deletions
_MAX_KNOWN = 4096  # directories remembered as durable


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn an OSError into a StoreError that names the object, never the path."""
    try:
        yield
    except OSError as error:
        raise _translated(error, what) from error


@contextmanager
def _missing(key: str) -> Iterator[None]:
    """Say so where a key leads to no file."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise ObjectMissing(
            f"{key} is not in the store's directory",
            remedy="see that INGEST_STORE is the directory it was written to",
        ) from None


def _translated(error: OSError, what: str) -> StoreError:
    reason = (error.strerror or type(error).__name__).lower()
    line = f"can't {what} in the store's directory: {reason}"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return StoreFull(line, remedy="free space there, or point INGEST_STORE elsewhere")
        case errno.EFBIG:
            return StoreFull(
                line, remedy="raise this user's limit (ulimit -f), or use another file system"
            )
        case errno.EEXIST | errno.ENOTDIR:
            return StoreRefused(
                line, remedy="correct INGEST_STORE, or remove the file in the directory's way"
            )
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return StoreRefused(
                line, remedy="let this user own the directory of INGEST_STORE and write to it"
            )
        case _:
            return StoreUnavailable(line, remedy="look at the disk and the system's log")


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DirectoryStore:
    """Objects as files below one directory, readable by this user alone.

    Args:
        root: the directory; made if it isn't there.
        workers: threads that make objects durable, so that their fsyncs overlap.
    """

    def __init__(self, root: str | Path, *, workers: int = 16) -> None:
        self._root = Path(root).absolute()
        self._uploads = self._root / _UPLOADS
        self._known: set[Path] = set()
        self._tree = threading.Lock()  # no directory goes between making it and renaming into it
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="store")

    def __repr__(self) -> str:
        """No path: logs name objects by their keys."""
        return "DirectoryStore(...)"

    def create(self, key: str, content_type: str = "application/octet-stream") -> FileWriter:
        """Begin to write an object; a directory keeps no content type."""
        del content_type
        return FileWriter(self, keys.check(key))

    def put(self, key: str, octets: bytes) -> None:
        with self.create(key) as writer:
            writer.write(octets)
            writer.finish()

    def read(self, key: str, start: int = 0, octets: int | None = None) -> Iterator[bytes]:
        with _explained(f"read {key}"), _missing(key), self._path(key).open("rb", 0) as file:
            file.seek(start)
            left = octets
            while left is None or left > 0:
                block = file.read(_READ_BLOCK if left is None else min(left, _READ_BLOCK))
                if not block:
                    return
                if left is not None:
                    left -= len(block)
                yield block

    def size(self, key: str) -> int:
        with _explained(f"look at {key}"), _missing(key):
            found = self._path(key).stat()
            if not stat.S_ISREG(found.st_mode):
                raise FileNotFoundError
            return found.st_size

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        folder = prefix.rpartition("/")[0]
        return self._walk(f"{keys.check(folder)}/" if folder else "", prefix, after)

    def _walk(self, folder: str, prefix: str, after: str) -> Iterator[StoredObject]:
        for name, entry in self._entries(folder):
            key = folder + name
            if key.endswith("/"):
                passed = key < after and not after.startswith(key)
                if not passed and (key.startswith(prefix) or prefix.startswith(key)):
                    yield from self._walk(key, prefix, after)
            elif key.startswith(prefix) and key > after and entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):  # deleted since
                    found = entry.stat()
                    modified = datetime.fromtimestamp(found.st_mtime, UTC)
                    yield StoredObject(key, found.st_size, modified)

    def _entries(self, folder: str) -> Sequence[tuple[str, os.DirEntry[str]]]:
        """A directory's entries in the order of their keys, so with `/` after a directory."""
        try:
            with os.scandir(self._root / folder) as entries:
                return sorted(
                    (
                        (entry.name + "/" * entry.is_dir(follow_symlinks=False), entry)
                        for entry in entries
                        if not entry.name.startswith(".")
                    ),
                    key=lambda named: named[0],
                )
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise _translated(error, "list objects") from error

    def delete(self, keys: Collection[str]) -> None:
        for key in keys:
            path = self._path(key)
            with _explained(f"delete {key}"), suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
            self._prune(path.parent)

    def _prune(self, directory: Path) -> None:
        """Remove directories that became empty, as prefixes vanish from S3 with their objects."""
        with self._tree:
            while directory != self._root:
                self._known.discard(directory)
                try:
                    directory.rmdir()
                except OSError:  # not empty, or gone already
                    return
                directory = directory.parent

    def abort_uploads(self, before: datetime) -> int:
        aborted = 0
        with _explained("abort uploads"), suppress(FileNotFoundError):
            for upload in self._uploads.iterdir():
                if upload.stat().st_mtime < before.timestamp():
                    upload.unlink()
                    aborted += 1
        return aborted

    def now(self) -> datetime:
        return datetime.now(UTC)

    def uri(self, key: str) -> str:
        return self._path(key).as_uri()

    def probe(self) -> Probe:
        key = f"probe-{ULID()}"
        steps = attempt(
            {
                "write": lambda: self.put(key, b"probe"),
                "read": lambda: b"".join(self.read(key)),
                "list": lambda: list(self.list(key)),
                "delete": lambda: self.delete([key]),
            }
        )
        return Probe(steps, checksums=None, clock_skew=0.0)

    def close(self) -> None:
        self._executor.shutdown()

    def submit(self, writer: FileWriter) -> Future[None]:
        """Finish a writer beside others, so that one fsync doesn't wait for another."""
        return self._executor.submit(writer.finish)

    def open_aside(self) -> tuple[Path, BinaryIO]:
        """A new file in `.uploads`."""
        self._ensure(self._uploads)
        path = self._uploads / secrets.token_hex(16)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileNotFoundError:
            self._known.clear()  # somebody removed the directory: make it again next time
            raise
        return path, os.fdopen(descriptor, "wb", _WRITE_BUFFER)

    def place(self, aside: Path, key: str) -> None:
        """Rename a durable file to its key's place and make that durable as well."""
        path = self._path(key)
        for left in reversed(range(_ATTEMPTS)):
            try:
                with self._tree:
                    self._ensure(path.parent)
                    aside.rename(path)
                break
            except (FileNotFoundError, FileExistsError):  # another process, a sweep say, removed it
                self._known.clear()
                if not left:
                    raise
        with suppress(FileNotFoundError):  # removed again already, and the object with it
            _sync(path.parent)

    def _path(self, key: str) -> Path:
        return self._root / keys.check(key)

    def _ensure(self, directory: Path) -> None:
        """Make a directory and its parents, durably. Those known to be there cost nothing.

        All of them up to the file system's root: an object is as durable as the way to it.
        """
        if directory in self._known or directory.is_mount():
            return
        parent = directory.parent
        self._ensure(parent)
        directory.mkdir(0o700 if directory.is_relative_to(self._root) else 0o777, exist_ok=True)
        ours = parent.is_relative_to(self._root)
        with nullcontext() if ours else suppress(PermissionError):  # of a system's directory
            _sync(parent)  # also if it was there: whoever made it may be about to, or never does
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known.add(directory)


class FileWriter:
    """One object being written aside. Leaving the block without `commit()` removes it."""

    def __init__(self, store: DirectoryStore, key: str) -> None:
        self._store = store
        self._key = key
        self._committed = False
        with _explained(f"write {key}"):
            self._aside, self._file = store.open_aside()

    @property
    def key(self) -> str:
        return self._key

    def write(self, octets: Octets) -> None:
        with _explained(f"write {self._key}"):
            self._file.write(octets)

    def commit(self) -> Future[None]:
        self._committed = True
        return self._store.submit(self)

    def finish(self) -> None:
        """Make the object durable, then visible under its key, then that durable."""
        self._committed = True
        try:
            with _explained(f"write {self._key}"), self._file:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._store.place(self._aside, self._key)
                reach("part-completed")
        except StoreError:
            self._remove()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._committed:
            self._remove()

    def _remove(self) -> None:
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._aside.unlink()
