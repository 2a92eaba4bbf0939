"""What customers want."""

from __future__ import annotations

from ingest.cli.demo.compose import attachment, encoded_word, mail, multipart, picture, text


def _first_order(number: int) -> bytes:
    body = """
Good morning,

please send us 12 kg of Assam (the malty one) and 4 kg of Lapsang Souchong.
Delivery to the shop in Quay Street, before Friday if you can.

Ines Halloran
Halloran & Daughters
"""
    order = text(body, encoding="7bit")
    return mail(number, "Ines Halloran <ines@halloran.example>", "orders", "Order 4711", order)


def _order_in_two_forms(number: int) -> bytes:
    plain = text("2 tins of Darjeeling First Flush, 250 g: 38 €\n", encoding="quoted-printable")
    shown = """
<html><body style="font-family: sans-serif">
<p>Hello Blue Wren,</p>
<table><tr><td>2 tins of Darjeeling First Flush, 250 g</td><td align="right">38 €</td></tr></table>
<p>Greetings from <b>Café Übersee</b></p>
</body></html>
"""
    page = text(shown, subtype="html", encoding="quoted-printable")
    both = multipart("alternative", "=_cafe_1", plain, page)
    sender = f"{encoded_word('Café Übersee')} <bestellung@cafe-uebersee.example>"
    return mail(number, sender, "orders", encoded_word("Bestellung für Freitag"), both)


def _order_in_eight_bits(number: int) -> bytes:
    body = (
        "Grüezi!\n\nNochmals 5 kg Earl Grey, wie immer. Die Dosen sind übrigens großartig.\n\nZoë\n"
    )
    sender = f"{encoded_word('Zoë Müller')} <zoe@teehaus-mueller.example>"
    return mail(number, sender, "orders", "Nachbestellung", text(body))


def _order_in_latin1(number: int) -> bytes:
    body = "Bonjour,\n\nveuillez préparer 3 boîtes de thé à la menthe.\n\nÀ bientôt, Aurélie\n"
    order = text(body, charset="iso-8859-1", encoding="quoted-printable")
    subject = encoded_word("Thé à la menthe", "iso-8859-1")
    return mail(number, "aurelie@lamaison.example", "orders", subject, order)


def _order_with_list(number: int) -> bytes:
    rows = "item;kg\r\nSencha;10\r\nGenmaicha;6\r\nHojicha;4\r\n".encode("utf-8-sig")
    # RFC 2231: the file name in another charset than ASCII.
    name = "attachment; filename*=UTF-8''Bestellung%20M%C3%A4rz.csv"
    both = multipart(
        "mixed", "=_list_1", text("Our list is attached.\n"), attachment("text/csv", rows, name)
    )
    return mail(number, "einkauf@grosshandel.example", "orders", "Order list", both)


def _order_with_logo(number: int) -> bytes:
    page = '<p>Six tins, please.</p><img src="cid:logo@northfield.example" alt="Northfield">'
    logo = attachment(
        "image/png",
        picture(48, 48, seed=1),
        'inline; filename="logo.png"',
        "Content-ID: <logo@northfield.example>",
    )
    related = multipart("related", "=_logo_2", text(page, subtype="html"), logo)
    both = multipart("alternative", "=_logo_1", text("Six tins, please.\n"), related)
    return mail(number, "shop@northfield.example", "orders", "Six tins", both)


def _dented_parcel(number: int) -> bytes:
    photos = [
        attachment(
            "image/png", picture(400, 300, seed), f'attachment; filename="parcel-{seed}.png"'
        )
        for seed in (2, 3)
    ]
    words = text("The parcel came dented, see the photos. The tea is fine, the tins are not.\n")
    both = multipart("mixed", "=_photos_1", words, *photos)
    return mail(number, "ines@halloran.example", "orders", "Order 4711 came dented", both)


def _order_from_a_form(number: int) -> bytes:
    body = ".\n..two dots, as the form prints them\n.item  Rooibos\n.count 20\n.\n\nEnd of form\n"
    return mail(number, "form@bluewren.example", "orders", "Web form 118", text(body))


def _order_from_the_same_form(number: int) -> bytes:
    body = ".\n..two dots, as the form prints them\n.item  Chamomile\n.count 35\n.\n\nEnd of form\n"
    return mail(number, "form@bluewren.example", "orders", "Web form 119", text(body))


def _order_in_japanese(number: int) -> bytes:
    body = "いつもお世話になっております。\n\n煎茶を二十缶お願いいたします。\n\n田中\n"
    order = text(body, charset="iso-2022-jp", encoding="7bit")
    subject = encoded_word("煎茶の注文", "iso-2022-jp")
    return mail(number, "tanaka@ochaya.example", "orders", subject, order)


def _cancelled(number: int) -> bytes:
    body = "Dear all,\n\nplease cancel the Lapsang from order 4711: our cat objects.\n\nInes\n"
    thread = "<orders.0001@halloran.example>"
    fields = (f"In-Reply-To: {thread}", f"References: {thread}")
    order = text(body, encoding="7bit")
    return mail(number, "ines@halloran.example", "orders", "Re: Order 4711", order, *fields)


ORDERS = (
    _first_order,
    _order_in_two_forms,
    _order_in_eight_bits,
    _order_in_latin1,
    _order_with_list,
    _order_with_logo,
    _dented_parcel,
    _order_from_a_form,
    _order_from_the_same_form,
    _order_in_japanese,
    _cancelled,
)
