"""A message is handed to a real SMTP server, or it is said why not; no secret is ever said."""

from __future__ import annotations

import base64
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ingest.errors import (
    CommandRefused,
    ConnectionFailed,
    DeadlineExceeded,
    IngestError,
    MaildropBusy,
    SessionError,
    SignInRefused,
    TlsFailed,
)
from ingest.model import Submission, Tls
from ingest.transport import submission as module
from ingest.transport.submission import submit
from tests.servers.certificates import Certificates, make_certificates
from tests.servers.ports import free_port
from tests.servers.smtp import PASSWORD, USERNAME, SmtpServer, smtp_server

MESSAGE = b"Subject: probe\r\n\r\n.a line with a dot\r\n"
GUESSED = "guessed pass"
PEER = "canary of mailbox mb-1"


@pytest.fixture
def server(certificates: Certificates) -> Iterator[SmtpServer]:
    with smtp_server(certificates) as running:
        yield running


def to(server: SmtpServer, certificates: Certificates, **changes: object) -> Submission:
    fields: dict[str, object] = {
        "host": "localhost",
        "port": server.port,
        "username": USERNAME,
        "ca_file": str(certificates.ca_file),
        "sender": USERNAME,
        "recipient": "canary@example.org",
    }
    return Submission(**(fields | changes))  # type: ignore[arg-type]  # the fields above, changed


def told(error: IngestError) -> str:
    """All that a log could show of it."""
    return "".join(traceback.format_exception(error)) + error.remedy


@pytest.mark.parametrize("extensions", [["AUTH PLAIN LOGIN"], ["AUTH LOGIN XOAUTH2"]])
def test_a_message_is_submitted_under_tls_by_starttls(
    server: SmtpServer, certificates: Certificates, extensions: list[str]
) -> None:
    server.extensions = ["STARTTLS", *extensions]
    submit(to(server, certificates), PASSWORD, MESSAGE, peer=PEER)
    assert server.messages == [MESSAGE]
    words = [line.split()[0].upper() for line in server.commands]
    said = dict(zip(words, server.encrypted, strict=True))
    assert said["AUTH"]
    assert said["MAIL"]
    assert server.commands[-1] == "QUIT"


def test_a_message_is_submitted_under_tls_from_the_start(certificates: Certificates) -> None:
    with smtp_server(certificates, implicit=True) as server:
        submit(to(server, certificates, tls="implicit"), PASSWORD, MESSAGE, peer=PEER)
        assert server.messages == [MESSAGE]


def test_a_message_goes_in_the_clear_where_that_is_asked_for_and_is_said(
    server: SmtpServer, certificates: Certificates
) -> None:
    with capture_logs() as logs:
        submit(to(server, certificates, tls="none", username=""), "", MESSAGE, peer=PEER)
    assert server.messages == [MESSAGE]
    assert not any(server.encrypted)
    assert [entry["event"] for entry in logs] == ["plaintext_submission"]


def test_a_server_without_starttls_does_not_get_the_password(
    server: SmtpServer, certificates: Certificates
) -> None:
    server.extensions = ["AUTH PLAIN"]
    with pytest.raises(TlsFailed, match="no STARTTLS"):
        submit(to(server, certificates), PASSWORD, MESSAGE, peer=PEER)
    server.extensions = ["STARTTLS", "AUTH PLAIN"]
    server.replies["STARTTLS"] = "454 not now"
    with pytest.raises(TlsFailed, match="no STARTTLS"):
        submit(to(server, certificates), PASSWORD, MESSAGE, peer=PEER)
    assert not [line for line in server.commands if line.startswith("AUTH")]


def test_what_was_said_in_the_clear_behind_starttls_is_not_believed(
    server: SmtpServer, certificates: Certificates
) -> None:
    server.injected = "\r\n250-test\r\n250 AUTH PLAIN\r\n535 no"
    submit(to(server, certificates), PASSWORD, MESSAGE, peer=PEER)
    assert server.messages == [MESSAGE]


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_a_certificate_that_does_not_verify_ends_it(
    certificates: Certificates, tmp_path: Path, tls: Tls
) -> None:
    with smtp_server(certificates, implicit=tls == "implicit") as server:
        stranger = make_certificates(tmp_path)
        with pytest.raises(TlsFailed, match="certificate"):
            submit(to(server, stranger, tls=tls), PASSWORD, MESSAGE, peer=PEER)
        with pytest.raises(TlsFailed, match="CA file"):
            submit(
                to(server, certificates, tls=tls, ca_file="/nowhere"), PASSWORD, MESSAGE, peer=PEER
            )
        assert not server.messages


def test_a_server_that_speaks_no_tls_is_told_from_one_with_a_bad_certificate(
    server: SmtpServer, certificates: Certificates
) -> None:
    with pytest.raises(TlsFailed, match="does not speak TLS") as caught:
        submit(to(server, certificates, tls="implicit"), PASSWORD, MESSAGE, peer=PEER)
    assert "587" in caught.value.remedy


@pytest.mark.parametrize("extensions", [["AUTH PLAIN"], ["AUTH LOGIN"], []])
def test_a_refused_password_is_tried_once_and_never_said_though_the_server_echoes_it(
    server: SmtpServer, certificates: Certificates, extensions: list[str]
) -> None:
    server.extensions = ["STARTTLS", *extensions]
    with pytest.raises(SignInRefused) as caught:
        submit(to(server, certificates), GUESSED, MESSAGE, peer=PEER)
    assert len([line for line in server.commands if line.startswith("AUTH")]) == len(extensions)
    said = told(caught.value)
    for secret in (GUESSED, "Z3Vlc3NlZCBwYXNz", "AHByb2JlQGV4YW1wbGUub3Jn", USERNAME):
        assert secret not in said
    assert not server.messages


def test_a_user_name_is_not_said_though_the_server_echoes_it_in_base64(
    server: SmtpServer, certificates: Certificates
) -> None:
    echoed = base64.b64encode(USERNAME.encode()).decode()
    server.extensions = ["STARTTLS", "AUTH LOGIN"]
    server.replies = {"AUTH": "334 VXNlcm5hbWU6", echoed.upper(): f"535 {echoed} is unknown"}
    with pytest.raises(SignInRefused, match="is unknown") as caught:
        submit(to(server, certificates), GUESSED, MESSAGE, peer=PEER)
    assert echoed not in told(caught.value)


REFUSALS: list[tuple[dict[str, str], type[SessionError]]] = [
    ({"MAIL": "550 not from probe@example.org"}, CommandRefused),
    ({"RCPT": "550 5.1.1 <canary@example.org> unknown"}, CommandRefused),
    ({"RCPT": "451 greylisted"}, MaildropBusy),
    ({"DATA": "552 too large"}, CommandRefused),
    ({"AUTH": "454 4.7.0 temporary"}, MaildropBusy),
    ({"EHLO": "421 closing", "HELO": "421 closing"}, MaildropBusy),
    ({"RCPT": "what?"}, CommandRefused),
]


@pytest.mark.parametrize(("replies", "kind"), REFUSALS, ids=str)
def test_a_refusal_is_classified_and_quoted_without_addresses(
    server: SmtpServer,
    certificates: Certificates,
    replies: dict[str, str],
    kind: type[SessionError],
) -> None:
    server.replies = replies
    with pytest.raises(SessionError) as caught:
        submit(to(server, certificates), PASSWORD, MESSAGE, peer=PEER)
    assert type(caught.value) is kind
    assert str(caught.value).startswith(PEER)
    assert "@" not in f"{caught.value}{caught.value.remedy}"
    assert not server.messages


def test_a_server_that_does_not_want_us_is_believed(
    server: SmtpServer, certificates: Certificates
) -> None:
    server.greeting = "554 no service"
    with pytest.raises(CommandRefused, match="554 'no service'"):
        submit(to(server, certificates), PASSWORD, MESSAGE, peer=PEER)


def test_a_message_that_was_taken_is_sent_though_quit_fails(
    server: SmtpServer, certificates: Certificates
) -> None:
    server.deliver = lambda _: server.replies.update(QUIT="500 never")
    submit(to(server, certificates), PASSWORD, MESSAGE, peer=PEER)
    assert server.messages == [MESSAGE]


def test_nobody_there_is_said_with_the_ports_of_smtp(
    server: SmtpServer, certificates: Certificates
) -> None:
    with pytest.raises(ConnectionFailed, match="refused") as caught:
        submit(to(server, certificates, port=free_port()), PASSWORD, MESSAGE, peer=PEER)
    assert "465" in caught.value.remedy
    assert "995" not in caught.value.remedy


@pytest.mark.parametrize("implicit", [False, True])
def test_a_silent_server_has_so_long_and_no_longer(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, *, implicit: bool
) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.3)
    with smtp_server(certificates, implicit=implicit) as server:
        server.stall.set()
        with pytest.raises(DeadlineExceeded, match=r"longer than 0\.3 s"):
            submit(
                to(server, certificates, tls="implicit" if implicit else "starttls"),
                PASSWORD,
                MESSAGE,
                peer=PEER,
            )


def test_a_server_that_stalls_after_the_message_has_so_long_and_no_longer(
    server: SmtpServer, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.5)
    server.deliver = lambda _: server.stall.set()
    with pytest.raises(DeadlineExceeded):
        submit(to(server, certificates), PASSWORD, MESSAGE, peer=PEER)


def test_replies_without_an_end_take_neither_memory_nor_time(
    server: SmtpServer, certificates: Certificates
) -> None:
    server.endless = True
    with pytest.raises(ConnectionFailed, match="replies are too long"):
        submit(to(server, certificates), PASSWORD, MESSAGE, peer=PEER)


def test_a_submission_shows_neither_addresses_nor_where_its_password_is(
    server: SmtpServer, certificates: Certificates
) -> None:
    shown = repr(to(server, certificates, password="env:SECRET"))
    assert "@" not in shown
    assert "SECRET" not in shown
