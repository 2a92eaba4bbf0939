from __future__ import annotations

import pytest

from ingest.model import LedgerEntry
from ingest.state.entries import pack_head, unpack

TIME = (1_700_000_000).to_bytes(4)


@pytest.mark.parametrize("header", ["ab" * 32, ""])
def test_an_entry_comes_back_as_it_was_packed(header: str) -> None:
    packed = pack_head("0f" * 16, header, 123_456_789_012) + TIME
    expected = LedgerEntry("0f" * 16, 123_456_789_012, header, 1_700_000_000.0)
    assert unpack(packed) == expected


def test_an_entry_stays_small_enough_for_a_compact_hash() -> None:
    assert len(pack_head("0f" * 16, "ab" * 32, 1) + TIME) <= 64


def test_a_size_beyond_all_measure_is_kept_as_a_very_large_one() -> None:
    assert unpack(pack_head("0f" * 16, "", 10**40) + TIME).listed_octets == 2**63
