from __future__ import annotations

import pytest
import typer

from ingest.cli.address import Address, parse
from ingest.model import Tls


@pytest.mark.parametrize(
    ("url", "plaintext", "address"),
    [
        ("pop3s://ana@mail.example", False, ("mail.example", 995, "implicit", "ana")),
        ("pop3s://ana@mail.example:1995", False, ("mail.example", 1995, "implicit", "ana")),
        ("pop3://ana@mail.example", False, ("mail.example", 110, "starttls", "ana")),
        ("pop3://ana@mail.example", True, ("mail.example", 110, "none", "ana")),
        ("POP3S://ana@Mail.Example/", False, ("mail.example", 995, "implicit", "ana")),
        (
            "pop3s://a%40b.example@mail.example",
            False,
            ("mail.example", 995, "implicit", "a@b.example"),
        ),
        (
            "pop3s://a@b.example@mail.example",
            False,
            ("mail.example", 995, "implicit", "a@b.example"),
        ),
        ("pop3s://ana@[::1]:995", False, ("::1", 995, "implicit", "ana")),
        ("pop3s://a%3Ab@mail.example", False, ("mail.example", 995, "implicit", "a:b")),
    ],
)
def test_an_address_is_read(
    url: str, *, plaintext: bool, address: tuple[str, int, Tls, str]
) -> None:
    assert parse(url, plaintext=plaintext) == Address(*address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example",
        "ana@mail.example",
        "imaps://ana@mail.example",
        "pop3s://mail.example",
        "pop3s://@mail.example",
        "pop3s://ana@",
        "pop3s://ana@mail.example/INBOX",
        "pop3s://ana@mail.example?x=1",
        "pop3s://ana@mail.example:99999",
        "pop3s://ana@mail.example:port",
        "pop3s://a%0D%0ADELE@mail.example",
        "pop3s://[::1",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "pop3s://ana:hunter2@mail.example",
        "pop3s://ana:@mail.example",
        "pop3s://ana:hunter2/x@mail.example",
        "pop3s://ana:hunter2#x@mail.example",
        "imap://ana:hunter2@mail.example",
    ],
)
def test_a_password_in_the_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        parse(url)

    assert "hunter2" not in str(caught.value)


def test_a_password_in_the_address_is_named_as_the_reason() -> None:
    with pytest.raises(typer.BadParameter, match="password in the address"):
        parse("pop3s://ana:hunter2@mail.example")


def test_plaintext_and_pop3s_contradict_each_other() -> None:
    with pytest.raises(typer.BadParameter, match="leave plaintext out"):
        parse("pop3s://ana@mail.example", plaintext=True)
