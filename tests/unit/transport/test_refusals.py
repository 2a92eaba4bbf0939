import pytest

from ingest.errors import CommandRefused, MaildropBusy, SessionError, SignInRefused
from ingest.transport.refusals import refused


def refusal(code: str, text: str, *, signing_in: bool = True) -> SessionError:
    return refused("mailbox m1 at pop.example.org:995", code, text, signing_in=signing_in)


@pytest.mark.parametrize(
    ("code", "response_code"),
    [
        ("IN-USE", "IN-USE"),
        ("LOGIN-DELAY", "LOGIN-DELAY"),
        ("LOGIN-DELAY/300", "LOGIN-DELAY"),
        ("SYS/TEMP", "SYS/TEMP"),
        ("SYS/TEMP/DISK", "SYS/TEMP"),
        ("SYS/OTHER", "SYS/TEMP"),
        ("SYS", "SYS/TEMP"),
    ],
)
def test_a_code_may_ask_to_come_back_later_rfc_2449_rfc_3206(code: str, response_code: str) -> None:
    error = refusal(code, "not now")
    assert isinstance(error, MaildropBusy)
    assert str(error).endswith(f" [{response_code}]")
    assert "m1 at pop.example.org:995" in str(error)
    assert "not now" in str(error)


@pytest.mark.parametrize(
    ("text", "response_code"),
    [
        ("maildrop already locked", "IN-USE"),
        ("Unable to lock maildrop", "IN-USE"),
        ("Your mailbox is in use by another process", "IN-USE"),
        ("Temporary failure, try again later", "SYS/TEMP"),
        ("Too many connections from your address", "SYS/TEMP"),
    ],
)
def test_servers_without_codes_are_understood_by_their_words(text: str, response_code: str) -> None:
    error = refusal("", text)
    assert isinstance(error, MaildropBusy)
    assert str(error).endswith(f" [{response_code}]")


@pytest.mark.parametrize("code", ["AUTH", ""])
@pytest.mark.parametrize(
    "text", ["authentication failed", "user account is locked", "invalid blocked"]
)
def test_a_refused_password_is_not_tried_again(code: str, text: str) -> None:
    assert isinstance(refusal(code, text), SignInRefused)


def test_a_permanent_fault_of_the_system_is_not_the_password_rfc_3206() -> None:
    assert type(refusal("SYS/PERM", "no such volume")) is CommandRefused


def test_a_code_weighs_more_than_words() -> None:
    assert isinstance(refusal("AUTH", "locked, try again later"), SignInRefused)


def test_a_greeting_that_refuses_is_no_refused_password() -> None:
    assert type(refusal("", "go away", signing_in=False)) is CommandRefused
