"""The commit object of a batch: a ZIP file that any unzip reads, with nothing compressed.

    <index>/record.json    of each message; all records stand first, so that one read gets them
    <index>/skeleton       of each message whose skeleton isn't an object of its own

Written by hand, because the standard library's writer takes twice as long for a small member as
the whole budget of a small message allows. Names, flags and times are fixed, so that the same
records make the same octets. Format: PKWARE APPNOTE 6.3.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import NamedTuple

import msgspec

from ingest.errors import ProofFailed
from ingest.intake.ports import ObjectStore
from ingest.mime import splice
from ingest.model import Record
from ingest.objects import keys

_LOCAL = Struct("<4s5H3I2H")  # 4.3.7
_CENTRAL = Struct("<4s6H3I5H2I")  # 4.3.12
_END = Struct("<4s4H2IH")  # 4.3.16
_END64 = Struct("<4sQ2H2I4Q")  # 4.3.14
_LOCATOR64 = Struct("<4sIQI")  # 4.3.15
_VERSION, _VERSION64 = 20, 45
_MADE_BY_UNIX = 3 << 8 | _VERSION64
_DATE = 1 << 5 | 1  # 1 January 1980, the earliest there is
_MODE = 0o100600 << 16  # a file, for its owner
_MANY = 0xFFFF  # from so many members on their number stands in the ZIP64 end record
_LARGE = 0xFFFFFFFF  # octets; one commit object is made in memory, so it is always smaller

_TAIL = 64 * 1024  # octets read at once from the end: enough for most directories
_MAX_DIRECTORY = 64 * 1024 * 1024  # octets

_NAME = re.compile(r"\d{1,9}/(record\.json|skeleton)", re.ASCII)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


def encode(entries: Sequence[tuple[Record, bytes | None]]) -> bytes:
    """The commit object of these records, each with its skeleton.

    The skeleton is None where it is an object of its own.
    """
    members = [(b"%d/record.json" % record.index, _encoder.encode(record)) for record, _ in entries]
    members += [
        (b"%d/skeleton" % record.index, skeleton)
        for record, skeleton in entries
        if skeleton is not None
    ]
    return b"".join(_zip(members))


def _zip(members: Sequence[tuple[bytes, bytes]]) -> Iterable[bytes]:
    written: list[bytes] = []
    directory: list[bytes] = []
    offset = 0
    for name, octets in members:
        size, name_size, crc = len(octets), len(name), zlib.crc32(octets)
        local = _LOCAL.pack(
            b"PK\3\4", _VERSION, 0, 0, 0, _DATE, crc, size, size, name_size, 0
        )  # fmt: skip
        written += (local, name, octets)
        directory += (
            _CENTRAL.pack(
                b"PK\1\2", _MADE_BY_UNIX, _VERSION, 0, 0, 0, _DATE, crc, size, size, name_size,
                0, 0, 0, 0, _MODE, offset,
            ),
            name,
        )  # fmt: skip
        offset += _LOCAL.size + name_size + size
    directory_size = sum(map(len, directory))
    return [*written, *directory, _end(len(members), directory_size, offset)]


def _end(count: int, size: int, offset: int) -> bytes:
    if offset + size >= _LARGE:
        raise ProofFailed(
            f"a commit object of {offset + size} octets is too large",
            remedy="lower INGEST_BATCH_OCTETS",
        )
    few = min(count, _MANY)
    end = _END.pack(b"PK\5\6", 0, 0, few, few, size, offset, 0)
    if count < _MANY:
        return end
    end64 = _END64.pack(
        b"PK\6\6", _END64.size - 12, _MADE_BY_UNIX, _VERSION64, 0, 0, count, count, size, offset
    )
    return end64 + _LOCATOR64.pack(b"PK\6\7", 0, offset + size, 1) + end


class _Member(NamedTuple):
    offset: int
    size: int
    crc: int

    def stop(self, name: str) -> int:
        return self.offset + _LOCAL.size + len(name) + self.size


class CommitReader:
    """Reads a commit object by ranges, its directory once, and a small one as a whole with it.

    Every method raises ProofFailed where the object is damaged, and StoreError.

    Args:
        store: where it is.
        key: of the commit object.
    """

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store = store
        self._key = key
        self._directory: dict[str, _Member] | None = None
        self._tail, self._tail_start = b"", 0

    @property
    def members(self) -> dict[str, _Member]:
        """Names and places, in the order of the file."""
        if self._directory is None:
            self._directory = self._read_directory()
        return self._directory

    @property
    def indexes(self) -> list[int]:
        """The positions of its records, in the order in which `records` gives them."""
        return [int(name.split("/")[0]) for name in self.members if name.endswith(".json")]

    def records(self) -> Iterator[Record]:
        """Every record, by one read, with memory for one record at a time."""
        records = [(name, at) for name, at in self.members.items() if name.endswith(".json")]
        if not records:
            return
        last, place = records[-1]
        blocks = self._range(0, place.stop(last))
        buffer, start = bytearray(), 0
        for name, member in records:
            stop = member.stop(name)
            while start + len(buffer) < stop:
                block = next(blocks, None)
                if block is None:
                    raise self._damaged("ends early")
                buffer += block
            yield self._decoded(name, bytes(buffer[member.offset - start : stop - start]))
            del buffer[: stop - start]
            start = stop

    def record(self, index: int) -> Record:
        """One record."""
        name = f"{index}/record.json"
        return self._decoded(name, self._read(name))

    def skeleton(self, index: int) -> bytes:
        """The skeleton of a record that has it here."""
        name = f"{index}/skeleton"
        return self._checked(name, self._read(name))

    def _read(self, name: str) -> bytes:
        member = self.members.get(name)
        if member is None:
            raise self._damaged(f"has no {name}")
        size = member.stop(name) - member.offset
        return b"".join(self._range(member.offset, size))

    def _range(self, start: int, octets: int) -> Iterator[bytes]:
        """Octets of the object; those that came with the directory are not asked for again."""
        if start >= self._tail_start:
            return iter([self._tail[start - self._tail_start :][:octets]])
        return self._store.read(self._key, start, octets)

    def _decoded(self, name: str, octets: bytes) -> Record:
        try:
            return _decoder.decode(self._checked(name, octets))
        except msgspec.DecodeError as error:
            raise self._damaged(f"has no readable {name} ({type(error).__name__})") from error

    def _checked(self, name: str, octets: bytes) -> bytes:
        """What follows the local header, if it is as the directory says."""
        header = _LOCAL.size + len(name)
        member = self.members[name]
        if (
            not octets.startswith(b"PK\3\4")
            or octets[_LOCAL.size : header] != name.encode()
            or len(octets) != header + member.size
            or zlib.crc32(content := octets[header:]) != member.crc
        ):
            raise self._damaged(f"has a damaged {name}")
        return content

    def _read_directory(self) -> dict[str, _Member]:
        total = self._store.size(self._key)
        tail_start = max(0, total - _TAIL)
        tail = b"".join(self._store.read(self._key, tail_start))
        self._tail, self._tail_start = tail, tail_start
        size, offset = self._place_of_directory(tail)
        if size > _MAX_DIRECTORY or offset + size > total:
            raise self._damaged("has an impossible directory")
        return self._parse_directory(b"".join(self._range(offset, size)))

    def _place_of_directory(self, tail: bytes) -> tuple[int, int]:
        end = tail[-_END.size :]
        if len(end) < _END.size or not end.startswith(b"PK\5\6"):
            raise self._damaged("is no ZIP file, or not whole")
        *_, count, size, offset, _ = _END.unpack(end)
        if count == _MANY:
            end64 = tail[-_END.size - _LOCATOR64.size - _END64.size :][: _END64.size]
            if not end64.startswith(b"PK\6\6"):
                raise self._damaged("has no ZIP64 end record")
            *_, size, offset = _END64.unpack(end64)
        return size, offset

    def _parse_directory(self, directory: bytes) -> dict[str, _Member]:
        members: dict[str, _Member] = {}
        at = 0
        while at < len(directory):
            header = directory[at : at + _CENTRAL.size]
            if len(header) < _CENTRAL.size or not header.startswith(b"PK\1\2"):
                raise self._damaged("has a damaged directory")
            (*_, method, _, _, crc, _, size, name, extra, comment, _, _, _, offset) = (
                _CENTRAL.unpack(header)
            )
            if method:
                raise self._damaged("was written by another program, compressed")
            at += _CENTRAL.size
            member = directory[at : at + name].decode("ascii", "replace")
            if not _NAME.fullmatch(member):
                raise self._damaged("has a member that is none of ours")
            members[member] = _Member(offset, size, crc)
            at += name + extra + comment
        return members

    def _damaged(self, how: str) -> ProofFailed:
        return ProofFailed(
            f"the commit object {self._key} {how}",
            remedy="restore it from a backup or an earlier version of the object",
        )


def rebuild_message(
    store: ObjectStore, record: Record, skeleton: Iterable[bytes] | None = None
) -> Iterator[bytes]:
    """The message's octets as its server sent them, in blocks, proven at the end.

    Args:
        store: where its objects are.
        record: the message's.
        skeleton: the octets of its skeleton, where they were read already.

    Raises:
        ProofFailed: what is stored gives other octets; those yielded before are not to be used.
        StoreError: an object can't be read.
    """

    def part(index: int, offset: int, octets: int) -> Iterable[bytes]:
        if not 0 <= index < len(record.parts) or not record.parts[index].key:
            raise ProofFailed(f"record {record.id} refers to a part that it has not")
        return store.read(record.parts[index].key, offset, octets)

    if skeleton is None:
        skeleton = _skeleton(store, record)
    digest, octets = hashlib.sha256(), 0
    for block in splice.rebuild(record.program, skeleton, part):
        digest.update(block)
        octets += len(block)
        yield block
    if octets != record.octets or digest.hexdigest() != record.sha256:
        raise ProofFailed(
            f"record {record.id} gives {octets} octets that are not the {record.octets} stored",
            remedy="restore its objects from a backup or an earlier version",
        )


def _skeleton(store: ObjectStore, record: Record) -> Iterator[bytes]:
    if record.skeleton.key:
        yield from store.read(record.skeleton.key)
    else:
        yield CommitReader(store, keys.commit(record.batch)).skeleton(record.index)
