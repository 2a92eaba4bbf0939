"""How a ledger entry is kept in Redis.

61 octets: Redis keeps a hash whose values have at most 64 as one compact block of memory, at about
a third of what it costs otherwise. Layout, big-endian:

    flags            1   bit 0: deleted; bit 1: there is no header hash; bit 2: a rehearsal;
                         bit 3: quarantined
    record id       16
    header hash     32   zeros where there is none
    listed octets    8
    committed at     4   seconds since the epoch; Lua appends it, by Redis's clock

What a newer version may append stays as it is, and is not looked at.
"""

from __future__ import annotations

import struct
from typing import Final

from ingest.model import LedgerEntry, Record

_HEAD: Final = struct.Struct(">B16s32sQ")
_WHOLE: Final = struct.Struct(">B16s32sQI")
_DELETED: Final = 1
_NO_HEADER: Final = 2
_REHEARSAL: Final = 4
_QUARANTINED: Final = 8
_OCTETS_MAX: Final = 2**63  # a server that lists more lies; the entry then never matches its LIST


def pack_head(record: Record) -> bytes:
    """A new entry for a record, all but its time."""
    return _HEAD.pack(
        (0 if record.header_sha256 else _NO_HEADER)
        | (_REHEARSAL if record.rehearsal else 0)
        | (_QUARANTINED if record.quarantined else 0),
        bytes.fromhex(record.id),
        bytes.fromhex(record.header_sha256),
        min(record.listed_octets, _OCTETS_MAX),
    )


def unpack(octets: bytes) -> LedgerEntry:
    """The entry."""
    flags, record_id, header, listed_octets, committed_at = _WHOLE.unpack_from(octets)
    return LedgerEntry(
        record_id=record_id.hex(),
        listed_octets=listed_octets,
        header_sha256="" if flags & _NO_HEADER else header.hex(),
        committed_at=float(committed_at),
        deleted=bool(flags & _DELETED),
        rehearsal=bool(flags & _REHEARSAL),
    )
