"""What suppliers want."""

from __future__ import annotations

from collections.abc import Callable

from ingest.cli.demo.compose import (
    Entity,
    archive,
    attachment,
    encoded_word,
    mail,
    multipart,
    pdf,
    text,
)

LARGE_OCTETS = 30 * 1024 * 1024  # of the largest attachment, decoded


def _invoice(
    sender: str, name: str, amount: str, disposition: str, content_type: str = "application/pdf"
) -> Callable[[int], bytes]:
    def build(number: int) -> bytes:
        page = pdf(f"Invoice {name}", sender, "", f"Total due: {amount}", "Payable in 30 days.")
        words = text(f"Please find attached invoice {name} over {amount}.\n")
        both = multipart("mixed", f"=_{name}", words, attachment(content_type, page, disposition))
        return mail(number, sender, "invoices", f"Invoice {name}", both)

    return build


def _forwarded(number: int) -> bytes:
    build = _invoice("books@tinsmith.example", "T-88", "96.10 EUR", "attachment; filename=T-88.pdf")
    inner = Entity(("Content-Type: message/rfc822", "Content-Disposition: inline"), build(40))
    words = text("This one went to my own address by mistake. Can you pay it?\n\nMarek\n")
    both = multipart("mixed", "=_fwd_1", words, inner)
    return mail(number, "marek@bluewren.example", "invoices", "Fwd: Invoice T-88", both)


def _large(number: int) -> bytes:
    scans = archive(LARGE_OCTETS, seed=4)
    words = text("All scans of the year, in one file. I hope your mailbox takes it!\n")
    both = multipart(
        "mixed",
        "=_scans_1",
        words,
        attachment("application/zip", scans, 'attachment; filename="scans-2026.zip"'),
    )
    return mail(number, "office@harbourlight.example", "invoices", "Scans of 2026", both)


def _statement(number: int) -> bytes:
    sheet = archive(90_000, seed=5)
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    both = multipart(
        "mixed",
        "=_sheet_1",
        text("The statement of the third quarter.\n"),
        attachment(kind, sheet, 'attachment; filename="statement-q3.xlsx"'),
    )
    return mail(number, "bank@ferrybank.example", "invoices", "Statement Q3", both)


def _reminder(number: int) -> bytes:
    body = (
        "Dear Sir or Madam, \nour invoice H-2041 is open since 14 days. It may have \nbeen lost.\n"
    )
    plain = text(body, encoding="7bit")
    flowed = Entity(
        ("Content-Type: text/plain; charset=us-ascii; format=flowed", *plain.fields[1:]), plain.body
    )
    return mail(number, "office@harbourlight.example", "invoices", "Reminder: H-2041", flowed)


def _appointment(number: int) -> bytes:
    calendar = (
        "BEGIN:VCALENDAR\nVERSION:2.0\nMETHOD:REQUEST\nBEGIN:VEVENT\nUID:audit@ferrybank.example\n"
        "DTSTART:20261012T090000Z\nSUMMARY:Yearly audit\nEND:VEVENT\nEND:VCALENDAR\n"
    )
    invitation = text(calendar, subtype="calendar; method=REQUEST", encoding="base64")
    both = multipart("alternative", "=_audit_1", text("Yearly audit, 12 October.\n"), invitation)
    return mail(number, "audit@ferrybank.example", "invoices", "Invitation: audit", both)


INVOICES = (
    _invoice(
        "office@harbourlight.example", "H-2041", "1,240.00 EUR", 'attachment; filename="H-2041.pdf"'
    ),
    _invoice("press@northfield.example", "N-17", "310.50 EUR", "attachment; filename=N-17.pdf"),
    _invoice(
        "faktura@sklad.example",
        "S-9",
        "2,018.00 EUR",
        f'attachment; filename="{encoded_word("účet S-9.pdf")}"',
    ),
    # The file name stands where it stood before RFC 2183.
    _invoice(
        "billing@cloudkettle.example",
        "CK-2026-10",
        "49.00 EUR",
        "attachment",
        'application/octet-stream; name="CK-2026-10.pdf"',
    ),
    _invoice("books@tinsmith.example", "T-91", "77.25 EUR", "inline; filename=T-91.pdf"),
    _statement,
    _forwarded,
    _large,
    _reminder,
    _appointment,
)
