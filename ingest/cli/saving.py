"""Saving a message's parts as files, whatever they call themselves."""

from __future__ import annotations

import errno
import mimetypes
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec

from ingest.errors import SettingsError
from ingest.intake.ports import ObjectStore
from ingest.mime.events import Body, Event, PartBegin, PartEnd, PartHeader
from ingest.mime.splitter import Splitter
from ingest.model import Record
from ingest.objects.commits import rebuild_message

_MAX_NAME = 120  # octets, so that a number still fits into what file systems allow
_MAX_EXTENSION = 15  # octets
_MOST_OF_ONE_NAME = 10_000
_FORBIDDEN = frozenset('/\\:*?"<>|')


class SavedFile(msgspec.Struct, frozen=True):
    """One part as a file."""

    path: str
    part: str  # section number
    content_type: str
    octets: int


def save_parts(store: ObjectStore, record: Record, directory: Path) -> list[SavedFile]:
    """Write every leaf of the message, decoded, into the directory, made if it is missing.

    The parts are cut out of the rebuilt message, so it makes no difference where they are stored.
    If anything fails, the files made until then are removed.

    Raises:
        SettingsError: the directory can't be written to.
        StoreError: the message can't be had back.
    """
    saver = _Saver(directory)
    splitter = Splitter()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for octets in rebuild_message(store, record):
            saver.take(splitter.feed(octets))
        saver.take(splitter.close())
    except BaseException as error:
        saver.undo()
        if isinstance(error, OSError):
            raise SettingsError(
                f"can't save in {directory}: {error.strerror}", remedy="choose another directory"
            ) from error
        raise
    return saver.saved


class _Saver:
    """Writes the part that is open to a file of its own."""

    def __init__(self, directory: Path) -> None:
        self.saved: list[SavedFile] = []
        self._directory = directory
        self._made: list[Path] = []
        self._file: BinaryIO | None = None
        self._header = PartHeader("")

    def take(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case PartBegin(header):
                    self._header = header
                    self._file = self._create(safe_name(header))
                case Body() if self._file:
                    self._file.write(event.decoded)
                case PartEnd(path, _, octets) if self._file:
                    self._file.close()
                    name = str(self._made[-1])
                    self.saved.append(SavedFile(name, path, self._header.content_type, octets))

    def undo(self) -> None:
        """Remove what was made."""
        if self._file:
            self._file.close()
        for path in self._made:
            path.unlink(missing_ok=True)

    def _create(self, name: str) -> BinaryIO:
        stem, extension = _divided(name)
        for number in range(1, _MOST_OF_ONE_NAME):
            path = self._directory / (name if number == 1 else f"{stem}-{number}{extension}")
            try:
                file = path.open("xb")
            except FileExistsError:
                continue
            self._made.append(path)
            return file
        raise FileExistsError(errno.EEXIST, "too many files of one name")


def safe_name(header: PartHeader) -> str:
    """A file name for a part: its own where it has one, without what file systems mind."""
    name = "".join("_" if character in _FORBIDDEN else character for character in header.filename)
    name = name.strip(" .")  # no hidden file, no "..", no trailing dot
    if not name:
        extension = mimetypes.guess_extension(header.content_type) or ".bin"
        return f"part-{header.path}{extension}"
    stem, extension = _divided(name)
    room = _MAX_NAME - len(extension.encode())
    return stem.encode()[:room].decode(errors="ignore") + extension


def _divided(name: str) -> tuple[str, str]:
    """Stem and extension; what is too long for one is none."""
    stem, dot, extension = name.rpartition(".")
    if stem and len(extension.encode()) <= _MAX_EXTENSION:
        return stem, dot + extension
    return name, ""
