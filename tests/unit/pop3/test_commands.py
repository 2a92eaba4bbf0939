from collections.abc import Callable

import pytest

from ingest.errors import LocalProtocolError
from ingest.pop3 import commands


def test_lines_are_those_of_the_rfcs() -> None:
    assert commands.user("mrose").line == b"USER mrose\r\n"
    assert commands.password("two words").line == b"PASS two words\r\n"
    assert commands.retr(7).line == b"RETR 7\r\n"
    assert commands.top(7).line == b"TOP 7 0\r\n"
    assert commands.dele(7).line == b"DELE 7\r\n"
    assert commands.NOOP.line == b"NOOP\r\n"


@pytest.mark.parametrize("octet", ["\r", "\n", "\0"])
@pytest.mark.parametrize("build", [commands.user, commands.password])
def test_an_argument_can_not_smuggle_a_command(
    build: Callable[[str], commands.Command], octet: str
) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        build(f"hunter2{octet}DELE 1")
    assert "hunter2" not in str(refused.value)


def test_a_command_is_no_longer_than_rfc_2449_allows() -> None:
    assert len(commands.user("x" * 248).line) == 255
    with pytest.raises(LocalProtocolError, match="255"):
        commands.user("x" * 249)


def test_an_initial_response_that_is_too_long_waits_for_the_challenge_rfc_5034() -> None:
    assert commands.auth("PLAIN", b"\0u\0p").line == b"AUTH PLAIN AHUAcA==\r\n"
    assert commands.auth("PLAIN", b"x" * 300).line == b"AUTH PLAIN\r\n"


def test_a_sasl_response_is_bounded() -> None:
    with pytest.raises(LocalProtocolError):
        commands.sasl_response(b"x" * 10_000)


def test_sasl_plain_keeps_its_fields_apart_rfc_4616() -> None:
    assert commands.sasl_plain("jörg", "p") == b"\0j\xc3\xb6rg\0p"
    with pytest.raises(LocalProtocolError):
        commands.sasl_plain("a\0b", "p")


def test_a_command_never_shows_its_arguments() -> None:
    assert repr(commands.password("hunter2")) == "Command(PASS)"
    assert repr(commands.retr(3)) == "Command(RETR 3)"
