import base64

import pytest
from structlog.testing import capture_logs

from ingest.errors import (
    ConnectionFailed,
    LocalProtocolError,
    MaildropBusy,
    RemoteProtocolError,
    SignInRefused,
)
from tests.fakes.pop3_server import CAPABILITIES, PASSWORD, USERNAME, Faults, Pop3Server
from tests.unit.transport.conftest import OpenMaildrop

NO_SASL = tuple(name for name in CAPABILITIES if not name.startswith("SASL"))


def test_auth_plain_is_used_where_it_is_offered_rfc_5034(opened: OpenMaildrop) -> None:
    with Pop3Server() as server:
        opened(server)
        assert server.commands() == ["CAPA", "AUTH", "CAPA"]


@pytest.mark.parametrize("capabilities", [NO_SASL, None])
def test_user_and_pass_are_used_where_it_is_not(
    opened: OpenMaildrop, capabilities: tuple[str, ...] | None
) -> None:
    with Pop3Server(faults=Faults(capabilities=capabilities)) as server:
        maildrop = opened(server)
        assert server.commands() == ["CAPA", f"USER {USERNAME}", "PASS", "CAPA"]
        assert maildrop.listing() == []


@pytest.mark.parametrize(
    "text", ["unknown mechanism", "Unrecognized command", "not supported", "Unsupported"]
)
def test_a_mechanism_that_fails_falls_back_to_user_and_pass(
    opened: OpenMaildrop, text: str
) -> None:
    with Pop3Server(faults=Faults(refuse={"AUTH": text})) as server:
        opened(server)
        assert server.commands()[1:] == ["AUTH", f"USER {USERNAME}", "PASS", "CAPA"]


@pytest.mark.parametrize("text", ["[AUTH] unknown mechanism", "wrong password", "no"])
def test_a_refused_password_is_not_tried_twice(opened: OpenMaildrop, text: str) -> None:
    with Pop3Server(faults=Faults(refuse={"AUTH": text})) as server, pytest.raises(SignInRefused):
        opened(server)
    assert server.commands() == ["CAPA", "AUTH"]


def test_a_refused_user_name_gets_no_password(opened: OpenMaildrop) -> None:
    faults = Faults(capabilities=None, refuse={"USER": "never heard of"})
    with Pop3Server(faults=faults) as server, pytest.raises(SignInRefused):
        opened(server)
    assert server.commands() == ["CAPA", f"USER {USERNAME}"]


def test_a_server_that_overlooks_the_initial_response_gets_it_again(opened: OpenMaildrop) -> None:
    with Pop3Server(faults=Faults(challenges=1)) as server:
        opened(server)


def test_a_second_challenge_is_an_error(opened: OpenMaildrop) -> None:
    with (
        Pop3Server(faults=Faults(challenges=2)) as server,
        pytest.raises(RemoteProtocolError, match=r"m1 at .* asks for more than PLAIN has"),
    ):
        opened(server)


def test_a_long_response_waits_for_the_challenge(opened: OpenMaildrop) -> None:
    with Pop3Server() as server, pytest.raises(SignInRefused):
        opened(server, password="x" * 300)


def test_a_refusal_names_mailbox_and_host_but_nobody(opened: OpenMaildrop) -> None:
    with Pop3Server() as server:
        with pytest.raises(SignInRefused) as refused:
            opened(server, password="hunter2")
        message = str(refused.value)
        assert message.startswith(f"mailbox m1 at 127.0.0.1:{server.port}: ")
    assert refused.value.remedy
    assert "wrong password for <private>" in message


PLAIN = base64.b64encode(f"\0{USERNAME}\0{PASSWORD}".encode()).decode()


@pytest.mark.parametrize(
    ("echo", "quoted"),
    [
        (f"bad: AUTH PLAIN {PLAIN}", "bad: AUTH PLAIN <private>"),
        (f"bad: 'AUTH PLAIN {PLAIN[:20]}...'", "bad: 'AUTH PLAIN <private>...'"),
        (f"bad: pass{PASSWORD}.", "bad: pass<private>."),
        (f"bad: {PASSWORD.upper()}123", "bad: <private>"),
        (f"{USERNAME} and sub{USERNAME}", "<private> and <address>"),
    ],
)
def test_a_server_that_echoes_what_it_got_is_not_quoted(
    opened: OpenMaildrop, echo: str, quoted: str
) -> None:
    with (
        Pop3Server(faults=Faults(refuse={"AUTH": echo})) as server,
        pytest.raises(SignInRefused) as refused,
    ):
        opened(server)
    assert f"says {quoted!r}" in str(refused.value)


@pytest.mark.parametrize("echo", [f"{PLAIN}\r\n", f"{PASSWORD}\r\n"])
def test_an_echo_instead_of_a_status_is_not_quoted(opened: OpenMaildrop, echo: str) -> None:
    with (
        Pop3Server(faults=Faults(say={"AUTH": echo.encode()})) as server,
        pytest.raises(RemoteProtocolError) as broken,
    ):
        opened(server)
    assert str(broken.value).endswith(": a status line begins neither with +OK nor with -ERR")


@pytest.mark.parametrize("command", ["AUTH", "USER", "PASS"])
def test_a_locked_maildrop_is_busy(opened: OpenMaildrop, command: str) -> None:
    capabilities = CAPABILITIES if command == "AUTH" else NO_SASL
    faults = Faults(capabilities=capabilities, refuse={command: "[IN-USE] another session"})
    with Pop3Server(faults=faults) as server, pytest.raises(MaildropBusy) as busy:
        opened(server)
    assert str(busy.value).endswith(" [IN-USE]")


def test_a_greeting_may_ask_to_come_back_later(opened: OpenMaildrop) -> None:
    faults = Faults(greeting="-ERR [SYS/TEMP] maintenance")
    with Pop3Server(faults=faults) as server, pytest.raises(MaildropBusy):
        opened(server)


def test_an_argument_with_a_line_end_is_never_sent(opened: OpenMaildrop) -> None:
    with Pop3Server(faults=Faults(capabilities=None)) as server, pytest.raises(LocalProtocolError):
        opened(server, password="secret\r\nDELE 1")
    assert server.commands() == ["CAPA", f"USER {USERNAME}"]


@pytest.mark.parametrize("command", ["CAPA", "AUTH"])
def test_a_server_that_goes_away_is_a_failed_connection(opened: OpenMaildrop, command: str) -> None:
    with (
        Pop3Server(faults=Faults(cut_before=command)) as server,
        pytest.raises(ConnectionFailed, match=rf"m1 at .* without an answer to {command}"),
    ):
        opened(server)


def test_another_protocol_is_an_error(opened: OpenMaildrop) -> None:
    with (
        Pop3Server(faults=Faults(greeting="220 smtp.example.org ESMTP")) as server,
        pytest.raises(RemoteProtocolError, match=r"m1 at .*begins with b'220 smtp"),
    ):
        opened(server)


def test_a_session_in_the_clear_says_so(opened: OpenMaildrop) -> None:
    with Pop3Server() as server, capture_logs() as logs:
        opened(server)
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("plaintext_session", "warning")
    ]


def test_the_connection_is_closed_after_a_failure(opened: OpenMaildrop) -> None:
    with Pop3Server(faults=Faults(refuse={"AUTH": "no"})) as server:
        with pytest.raises(SignInRefused):
            opened(server)
        server._sessions[0][0].join()  # it ends only when the client has closed
