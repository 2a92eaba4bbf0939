from __future__ import annotations

import pytest

from ingest.mime.addresses import addresses
from ingest.mime.envelope import envelope, rfc3339
from ingest.mime.header import parse
from ingest.model import Envelope


def made(block: str) -> Envelope:
    return envelope(parse(block.encode(), 100).fields)


def test_an_envelope_says_what_the_header_says() -> None:
    assert made(
        "From: =?utf-8?q?J=C3=BCrgen?= <j@example.com>\n"
        "To: a@example.org,\n b@example.org\n"
        "Cc: Team: c@example.org;\n"
        "Reply-To: r@example.com\n"
        "Subject: =?utf-8?q?Gr=C3=BC?=\n =?utf-8?q?=C3=9Fe?=\n"
        "Date: Tue, 24 Nov 2026 07:45:00 +0100\n"
        "Message-ID: <1@example.com>\n"
        "In-Reply-To: <0@example.com>\n"
        "References: <00@example.com>\n <0@example.com>\n"
    ) == Envelope(
        message_id="1@example.com",
        in_reply_to=("0@example.com",),
        references=("00@example.com", "0@example.com"),
        sender=("Jürgen <j@example.com>",),
        to=("a@example.org", "b@example.org"),
        cc=("c@example.org",),
        reply_to=("r@example.com",),
        subject="Grüße",
        date="2026-11-24T07:45:00+01:00",
    )


def test_a_header_without_fields_makes_an_empty_envelope() -> None:
    assert made("") == Envelope()


def test_the_first_of_two_fields_counts() -> None:
    assert made("Subject: one\nSubject: two\n").subject == "one"


def test_raw_octets_are_read_as_utf_8_or_else_as_latin_1() -> None:
    fields = parse("Subject: ä".encode() + b"\nFrom: \xe4 <a@b>\n", 9).fields
    assert envelope(fields).subject == "ä"
    assert envelope(fields).sender == ("ä <a@b>",)


def test_control_characters_do_not_get_into_a_subject() -> None:
    assert made("Subject: =?utf-8?q?a=0D=0AX:_b=00=1B[31m?=\n").subject == "a X: b[31m"


def test_a_subject_is_cut() -> None:
    assert made("Subject: " + "x" * 100_000).subject == "x" * 1000


def test_the_nearest_references_are_kept() -> None:
    found = made("References: " + " ".join(f"<{i}@x>" for i in range(300))).references
    assert found == tuple(f"{i}@x" for i in range(200, 300))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a@b.c", ("a@b.c",)),
        ("<a@b.c>", ("a@b.c",)),
        ("A B <a@b.c>, d@e.f", ("A B <a@b.c>", "d@e.f")),
        ('"B, A" <a@b.c>', ('"B, A" <a@b.c>',)),
        (r'"A \"x\" B" <a@b.c>', (r'"A \"x\" B" <a@b.c>',)),
        ("a@b.c (A B)", ("A B <a@b.c>",)),
        ("Group: a@b.c, d@e.f; g@h.i", ("a@b.c", "d@e.f", "g@h.i")),
        ("undisclosed-recipients:;", ()),
        ("A <@x,@y:a@b.c>", ("A <a@b.c>",)),
        ("a @ b . c", ("a@b.c",)),
        ("A <a@b.c", ("A <a@b.c>",)),
        ('"unterminated <a@b.c>', ('"unterminated <a@b.c>"',)),
        ("Only A Name", ("Only A Name",)),
        ("=?utf-8?q?A=2C_B?= <a@b.c>", ('"A, B" <a@b.c>',)),
        ("=?utf-8?q?x=0A=3Ca=40b=3E?= <c@d>", ('"x <a@b>" <c@d>',)),
        (",,, ,", ()),
        ("", ()),
        ("postmaster@müller.example", ("postmaster@müller.example",)),
    ],
)
def test_addresses(text: str, found: tuple[str, ...]) -> None:
    assert addresses(text) == found


@pytest.mark.parametrize(
    "text",
    ["<" * 60_000, '"' * 60_000, "(" * 60_000, "\\" * 60_000, '"\\' * 30_000, "a@b," * 50_000],
)
def test_hostile_addresses_end(text: str) -> None:
    found = addresses(text)
    assert len(found) <= 200
    assert all(len(each) <= 1300 for each in found)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("Fri, 21 Nov 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00"),
        ("21 Nov 97 09:55:06 GMT", "1997-11-21T09:55:06+00:00"),
        ("21 Nov 26 9:55 EST", "2026-11-21T09:55:00-05:00"),
        ("Fri, 21 Nov 1997 09(comment):55:06 -0600", ""),
        ("Thu, 1 Jan 2026 00:00:60 +0000 (UTC)", "2026-01-01T00:00:59+00:00"),
        ("Thu, 1 Jan 2026 00:00:00 +0530", "2026-01-01T00:00:00+05:30"),
        ("Thu, 1 Jan 2026 00:00:00 -0000", "2026-01-01T00:00:00+00:00"),
        ("Thu, 1 Jan 2026 00:00:00", "2026-01-01T00:00:00+00:00"),
        ("Thu, 31 Feb 2026 00:00:00 +0000", ""),
        ("Thu, 1 Foo 2026 00:00:00 +0000", ""),
        ("Thu, 1 Jan 2026 00:00:00 +9999", ""),
        ("Thu, 1 Jan 0000 00:00:00 +0000", ""),
        ("yesterday", ""),
        ("", ""),
    ],
)
def test_dates(text: str, date: str) -> None:
    assert rfc3339(text) == date


@pytest.mark.parametrize(
    ("block", "classification"),
    [
        ("Subject: x\n", "message"),
        ("Content-Type: multipart/report; report-type=delivery-status\n", "bounce"),
        ("Content-Type: multipart/report\nReturn-Path: <>\n", "bounce"),
        ("Return-Path: < >\nFrom: MAILER-DAEMON@example.com\n", "bounce"),
        ("X-Failed-Recipients: a@b\n", "bounce"),
        ("Return-Path: <>\nFrom: a@b\n", "message"),
        ("From: mailer-daemon@example.com\nReturn-Path: <a@b>\n", "message"),
        ("Content-Type: multipart/report; report-type=disposition-notification\n", "message"),
        ("Auto-Submitted: auto-replied (vacation)\n", "auto-reply"),
        ("Auto-Submitted: Auto-Replied; owner-email=x\n", "auto-reply"),
        ("Auto-Submitted: no\n", "message"),
        ("Auto-Submitted: auto-generated\nList-Id: <l.example.com>\n", "list"),
        ("Precedence: auto_reply\n", "auto-reply"),
        ("List-Id: L <l.example.com>\n", "list"),
    ],
)
def test_classification(block: str, classification: str) -> None:
    assert made(block).classification == classification
