from __future__ import annotations

from datetime import UTC, datetime

import pytest
from ulid import ULID

from ingest.errors import StoreRefused
from ingest.objects import keys

BATCH = str(ULID.from_datetime(datetime(2026, 11, 24, 7, 59, 59, tzinfo=UTC)))


def test_the_hour_of_a_key_comes_from_the_batch() -> None:
    assert keys.commit(BATCH) == f"mail/2026/11/24/07/{BATCH}/commit.zip"
    assert keys.part(BATCH, 3) == f"mail/2026/11/24/07/{BATCH}/part-3"


def test_a_key_leads_back_to_its_batch() -> None:
    assert keys.parse(keys.commit(BATCH)) == (BATCH, "commit.zip")
    assert keys.parse(keys.part(BATCH, 12)) == (BATCH, "part-12")


def test_the_commit_object_is_listed_before_the_parts() -> None:
    assert keys.commit(BATCH) < keys.part(BATCH, 0)


@pytest.mark.parametrize(
    "key",
    [
        "checkpoint.json",
        f"mail/2026/11/24/08/{BATCH}/commit.zip",  # the hour of another batch
        f"mail/2026/11/24/07/{BATCH}/other",
        f"mail/2026/11/24/07/{BATCH}/part-x",
        "mail/2026/11/24/07/not-a-ulid/commit.zip",
        "mail/2026/11/24/07/81ARZ3NDEKTSV4RRFFQ69G5FAV/commit.zip",  # over 128 bits
    ],
)
def test_other_keys_belong_to_no_batch(key: str) -> None:
    assert keys.parse(key) is None


def test_a_word_that_is_no_ulid_is_refused() -> None:
    with pytest.raises(StoreRefused, match="is no batch id"):
        keys.commit("x")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/../b",
        ".hidden",
        "a/.uploads/b",
        "a b",
        "ä",
        "a\n",
        "a" * 600,
    ],
)
def test_keys_that_we_never_make_are_refused(key: str) -> None:
    with pytest.raises(StoreRefused):
        keys.check(key)
