from __future__ import annotations

import hashlib
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cache
from typing import cast

import pytest

from ingest.cli.demo import messages
from ingest.cli.demo.invoices import LARGE_OCTETS
from ingest.cli.demo.server import Waiting


@cache
def waiting() -> dict[str, list[Waiting]]:
    return {user: list(these) for user, these in messages.maildrops().items()}


def everything() -> list[bytes]:
    return [message.octets for these in waiting().values() for message in these]


@cache
def parsed() -> list[EmailMessage]:
    return [
        message_from_bytes(octets, policy=policy.default)
        for octets in everything()
        if len(octets) < 10_000_000
    ]


def types() -> set[str]:
    return {part.get_content_type() for message in parsed() for part in message.walk()}


def test_there_are_thirty_messages_in_three_mailboxes() -> None:
    assert sorted(waiting()) == ["invoices", "orders", "support"]
    assert len(everything()) == 30
    assert len({hashlib.sha256(octets).digest() for octets in everything()}) == 30


def test_the_octets_are_the_same_at_every_call() -> None:
    again = messages.maildrops()

    assert {user: list(these) for user, these in again.items()} == waiting()


def test_every_message_could_come_from_a_server() -> None:
    for octets in everything():
        assert octets.endswith(b"\r\n")
        assert b"\n" not in octets.replace(b"\r\n", b"")
        assert max(map(len, octets.split(b"\r\n"))) <= 998


def test_all_but_the_damaged_one_parse_without_defects() -> None:
    damaged = [
        message["Subject"] for message in parsed() if any(part.defects for part in message.walk())
    ]

    assert damaged == ["Broken preview"]


def test_they_show_what_mail_can_be() -> None:
    assert {
        "text/html",
        "text/csv",
        "text/calendar",
        "image/png",
        "audio/wav",
        "application/pdf",
        "message/rfc822",
        "message/delivery-status",
        "multipart/related",
    } <= types()
    assert any(part["Content-ID"] for message in parsed() for part in message.walk())
    assert any("List-Id" in message for message in parsed())
    assert any(b"\r\n." in octets for octets in everything())
    assert any(byte > 127 for octets in everything() for byte in octets[:2000])


def test_two_different_messages_share_a_unique_id() -> None:
    unique_ids = [message.unique_id for message in waiting()["orders"]]

    assert len(unique_ids) - len(set(unique_ids)) == 1


def test_one_message_is_far_larger_than_any_buffer() -> None:
    (large,) = [
        message
        for message in waiting()[messages.LARGE_MAILBOX]
        if message.unique_id == messages.LARGE_UNIQUE_ID
    ]

    assert len(large.octets) > LARGE_OCTETS
    assert large.octets == max(everything(), key=len)


@pytest.mark.parametrize("name", ["H-2041.pdf", "N-17.pdf", "účet S-9.pdf", "T-91.pdf"])
def test_invoices_are_documents_with_their_names(name: str) -> None:
    found = [
        cast("bytes", part.get_content())
        for message in parsed()
        for part in message.walk()
        if part.get_filename() == name
    ]

    assert found
    assert all(page.startswith(b"%PDF-1.4") and page.endswith(b"%%EOF\n") for page in found)


def test_every_address_is_of_a_reserved_domain() -> None:
    for message in parsed():
        if message["Subject"] == "Broken preview":
            continue
        for header in ("From", "To"):
            for address in message[header].addresses:
                assert address.domain.endswith(".example")
