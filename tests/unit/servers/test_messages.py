"""The test messages are what they say they are, by the word of the standard library's parser."""

from __future__ import annotations

import email
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import messages
from tests.messages import Message

MAKERS: list[Callable[[int], Message]] = [
    messages.small,
    messages.quoted_printable,
    messages.eight_bit,
    messages.nested,
    lambda seed: messages.with_attachment(seed, 0),
    lambda seed: messages.with_attachment(seed, 10),
    lambda seed: messages.with_attachment(seed, 100_000),
    lambda seed: messages.with_attachment(seed, 2 * messages.BLOCK + 1),
]


def leaves(octets: bytes) -> tuple[str, ...]:
    """The SHA-256 of each leaf as the standard library decodes it."""
    decoded = (
        leaf.get_payload(decode=True)
        for leaf in email.message_from_bytes(octets).walk()
        if not leaf.is_multipart()
    )
    return tuple(hashlib.sha256(leaf).hexdigest() for leaf in decoded if isinstance(leaf, bytes))


@pytest.mark.parametrize("make", MAKERS)
def test_a_made_message_holds_the_leaves_it_says(make: Callable[[int], Message]) -> None:
    made = make(7)
    assert leaves(made.octets) == made.leaves
    assert made.octets.count(b"\n") == made.octets.count(b"\r\n")
    assert made.octets.endswith(b"\r\n")


@pytest.mark.parametrize("make", MAKERS)
def test_a_seed_always_makes_the_same_message(make: Callable[[int], Message]) -> None:
    assert make(1) == make(1)
    assert make(1).octets != make(2).octets


@pytest.mark.parametrize(
    "damage", ["no closing boundary", "no padding", "a header line without a colon"]
)
def test_a_malformed_message_still_holds_the_leaves_it_says(damage: str) -> None:
    made = messages.malformed(7)[damage]
    assert leaves(made.octets) == made.leaves


def test_each_malformed_message_differs_from_the_others() -> None:
    assert len({made.octets for made in messages.malformed(7).values()}) == 6


def test_small_messages_have_2_to_8_kilobytes_and_need_stuffing() -> None:
    made = [messages.small(seed).octets for seed in range(100)]
    assert all(2_000 < len(octets) < 9_000 for octets in made)
    assert any(b"\r\n." in octets for octets in made)


def test_a_written_message_is_the_made_one(tmp_path: Path) -> None:
    file = tmp_path / "message"
    made = messages.with_attachment(3, messages.BLOCK + 5)
    assert messages.write_with_attachment(file, 3, messages.BLOCK + 5) == made.leaves
    assert file.read_bytes() == made.octets
