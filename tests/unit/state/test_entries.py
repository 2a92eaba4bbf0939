from __future__ import annotations

import msgspec
import pytest

from ingest.model import NOT_PARSED, Defect, LedgerEntry
from ingest.state.entries import pack_head, unpack
from tests.fakes.mail_values import record

TIME = (1_700_000_000).to_bytes(4)
RECORD = record("octets")


@pytest.mark.parametrize("header", ["ab" * 32, ""])
@pytest.mark.parametrize("rehearsal", [False, True])
def test_an_entry_comes_back_as_it_was_packed(header: str, *, rehearsal: bool) -> None:
    changed = msgspec.structs.replace(RECORD, header_sha256=header, rehearsal=rehearsal)
    expected = LedgerEntry(
        RECORD.id, RECORD.listed_octets, header, 1_700_000_000.0, rehearsal=rehearsal
    )
    assert unpack(pack_head(changed) + TIME) == expected


def test_an_entry_stays_small_enough_for_a_compact_hash() -> None:
    assert len(pack_head(RECORD) + TIME) <= 64


def test_a_size_beyond_all_measure_is_kept_as_a_very_large_one() -> None:
    lies = msgspec.structs.replace(RECORD, listed_octets=10**40)
    assert unpack(pack_head(lies) + TIME).listed_octets == 2**63


def test_an_entry_is_the_same_but_for_a_bit_where_the_message_was_not_parsed() -> None:
    unparsed = msgspec.structs.replace(RECORD, defects=(Defect(NOT_PARSED),))
    assert unpack(pack_head(unparsed) + TIME) == unpack(pack_head(RECORD) + TIME)
    assert pack_head(unparsed)[0] == pack_head(RECORD)[0] | 8


def test_what_a_newer_version_appends_to_an_entry_is_no_obstacle() -> None:
    entry = pack_head(RECORD) + TIME
    assert unpack(entry + b"\1\2") == unpack(entry)
