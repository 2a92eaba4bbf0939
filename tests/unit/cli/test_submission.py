"""Where probes are submitted, as people type it."""

from __future__ import annotations

import pytest
import typer

from ingest.cli.submission import address_of, parse
from ingest.model import Submission

OWN = "canary@example.org"


def test_what_is_not_given_is_the_usual() -> None:
    assert parse("smtps://probe%40example.org@smtp.example.org", own=OWN) == Submission(
        host="smtp.example.org",
        port=465,
        tls="implicit",
        username="probe@example.org",
        sender="probe@example.org",
        recipient=OWN,
    )


def test_starttls_is_required_where_tls_does_not_begin_at_once() -> None:
    found = parse("smtp://probe@smtp.example.org/?to=a@b.example&from=c@d.example", own="canary")
    assert (found.tls, found.port) == ("starttls", 587)
    assert (found.sender, found.recipient) == ("c@d.example", "a@b.example")


def test_a_relay_that_asks_for_nobody_gets_the_mail_in_the_clear_only_if_that_is_said() -> None:
    found = parse("smtp://relay.internal", own=OWN, plaintext=True)
    assert (found.tls, found.port, found.username, found.sender) == ("none", 25, "", OWN)
    with pytest.raises(typer.BadParameter):
        parse("smtps://relay.internal", own=OWN, plaintext=True)


@pytest.mark.parametrize(
    "url",
    [
        "smtps://[::1]:2465/?to=a@b.example",
        "smtp://u%3A%2F@smtp.example.org:25/?to=a+b@c.example",
        "smtp://smtp.example.org",
    ],
)
def test_an_address_that_is_shown_can_be_given_again(url: str) -> None:
    found = parse(url, own=OWN)
    assert parse(address_of(found), own="somebody@else.example") == found


@pytest.mark.parametrize(
    "url",
    [
        "smtps://user:hunter2@smtp.example.org",
        "pop3s://user@smtp.example.org",
        "smtp://user@",
        "smtp://user@smtp.example.org:port",
        "smtp://user@smtp.example.org/path",
        "smtp://user@smtp.example.org/?too=hunter2",
        "smtp://user@smtp.example.org/?to=hunter2",
        "smtp://user@smtp.example.org/?to=a@b.example%0D%0ARCPT",
        "smtp://user@smtp.example.org/?to=%3Ca@b.example%3E",
        "smtp://user@smtp.example.org/?to=hunter2@b.example&from=hunter2",
        "smtp://us%0Aer@smtp.example.org",
        "smtp://[user@smtp.example.org",
    ],
)
def test_what_can_not_be_used_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        parse(url, own=OWN)
    assert "hunter2" not in caught.value.message


def test_a_mailbox_whose_user_name_is_no_mail_address_needs_one() -> None:
    with pytest.raises(typer.BadParameter, match="which mail address"):
        parse("smtp://smtp.example.org", own="canary")
