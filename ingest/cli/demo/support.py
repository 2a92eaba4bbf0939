"""What everybody else wants."""

from __future__ import annotations

from ingest.cli.demo.compose import Entity, attachment, mail, multipart, text, tone


def _question(number: int) -> bytes:
    body = "Hi,\n\nhow long may I brew the white tea? My neighbour says seven minutes.\n\nPat\n"
    words = text(body, encoding="7bit")
    return mail(number, "Pat Ferris <pat@mail.example>", "support", "Brewing white tea", words)


def _newsletter(number: int) -> bytes:
    page = "<html><body><h1>Kettle Weekly</h1><p>Limescale: friend or foe?</p></body></html>"
    return mail(
        number, "news@kettle.example", "support", "Kettle Weekly 40", text(page, subtype="html")
    )


def _list_post(number: int) -> bytes:
    fields = (
        "List-Id: Tea growers <growers.lists.example>",
        "List-Post: <mailto:growers@lists.example>",
        "List-Unsubscribe: <https://lists.example/leave>",
        "Precedence: list",
    )
    words = text("The second flush is two weeks late this year, at least on our slopes.\n")
    return mail(number, "devi@estate.example", "support", "[growers] Second flush", words, *fields)


def _out_of_office(number: int) -> bytes:
    fields = ("Auto-Submitted: auto-replied", "X-Auto-Response-Suppress: All", "Precedence: bulk")
    words = text("I am on a boat until 19 October. Write to Marek if it burns.\n")
    return mail(number, "lena@kettle.example", "support", "Out of office", words, *fields)


def _bounce(number: int) -> bytes:
    notice = text("Your message could not be delivered to gone@mail.example.\n", encoding="7bit")
    status = (
        b"Reporting-MTA: dns; mx.mail.example\r\n\r\n"
        b"Final-Recipient: rfc822; gone@mail.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        b"Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n"
    )
    returned = b"From: support@bluewren.example\r\nTo: gone@mail.example\r\nSubject: Your tins\r\n"
    report = multipart(
        "report; report-type=delivery-status",
        "=_dsn_1",
        notice,
        Entity(("Content-Type: message/delivery-status",), status),
        Entity(("Content-Type: text/rfc822-headers",), returned),
    )
    sender = "Mail Delivery System <mailer-daemon@mx.mail.example>"
    fields = ("Return-Path: <>", "Auto-Submitted: auto-replied")
    return mail(number, sender, "support", "Undelivered Mail", report, *fields)


def _damaged(number: int) -> bytes:
    name = 'attachment; filename="../../\u202egnp.exe"'
    parts = (
        text("The preview is broken, is it?\n"),
        Entity(
            (
                "Content-Type: image/png",
                "Content-Transfer-Encoding: base64",
                f"Content-Disposition: {name}",
            ),
            b"iVBORw0KGgo*!not base64!*\r\n=AAA=\r\nAA",
        ),
    )
    whole = multipart("mixed", "=_broken_1", *parts)
    # Cut before the closing boundary, as a server that gave up left it.
    cut = Entity(whole.fields, whole.body[:-20] + b"\r\n")
    return mail(
        number,
        "gru\u0308sse@kaputt.example",
        "support",
        "Broken preview",
        cut,
        "this line is no field",
    )


def _voice_message(number: int) -> bytes:
    voice = attachment("audio/wav", tone(20), 'attachment; filename="message.wav"')
    both = multipart("mixed", "=_voice_1", text("You have one new voice message.\n"), voice)
    return mail(number, "pbx@bluewren.example", "support", "Voice message, 0:20", both)


def _nested(number: int) -> bytes:
    entity = text("A reply to a reply to a reply: it was two minutes all along.\n")
    for level in range(6):
        entity = multipart("mixed", f"=_level_{level}", entity, text(f"-- \nfooter {level}\n"))
    return mail(number, "pat@mail.example", "support", "Re: Re: Re: Brewing", entity)


def _thread(number: int) -> bytes:
    root = "<support.0001@mail.example>"
    fields = (f"In-Reply-To: {root}", f"References: {root}")
    words = text("Two minutes at 75 °C. Your neighbour has no tongue. \N{HOT BEVERAGE}\n")
    return mail(number, "devi@estate.example", "support", "Re: Brewing white tea", words, *fields)


SUPPORT = (
    _question,
    _newsletter,
    _list_post,
    _out_of_office,
    _bounce,
    _damaged,
    _voice_message,
    _nested,
    _thread,
)
