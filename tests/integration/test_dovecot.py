"""The POP3 transport against a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ingest.errors import SignInRefused, TlsFailed
from ingest.intake.ports import Farewell
from ingest.model import Mailbox, Tls
from ingest.transport import maildrop as transport
from ingest.transport.deadlines import Deadlines
from ingest.transport.maildrop import Pop3Maildrop
from ingest.transport.sign_in import open_maildrop
from tests.servers.dovecot import PASSWORD, Dovecot, Maildrop

Opened = Callable[..., Pop3Maildrop]

every_kind_of_tls = pytest.mark.parametrize("tls", ["implicit", "starttls", "none"])


@pytest.fixture
def opened(dovecot: Dovecot, maildrop: Maildrop) -> Iterator[Opened]:
    sessions: list[Pop3Maildrop] = []

    def open_it(
        tls: Tls = "none", password: str = PASSWORD, *, trusted: bool = True
    ) -> Pop3Maildrop:
        mailbox = Mailbox(
            id="m1",
            name="inbox",
            host="localhost",
            port=dovecot.pop3s_port if tls == "implicit" else dovecot.pop3_port,
            tls=tls,
            username=maildrop.name,
            password="env:UNUSED",
            ca_file=str(dovecot.ca_file) if trusted else "",
        )
        sessions.append(open_maildrop(mailbox, password, deadlines=Deadlines(), stop=lambda: None))
        return sessions[-1]

    yield open_it
    for session in sessions:
        session.drop()


def message(number: int, octets: int = 0) -> bytes:
    body = b".\r\n..\r\n.a\r\n" + b"x" * 76 + b"\r\n"
    return b"Subject: %d\r\n\r\n" % number + body * (1 + octets // len(body))


@every_kind_of_tls
def test_messages_come_octet_for_octet_and_go(opened: Opened, maildrop: Maildrop, tls: Tls) -> None:
    sent = [message(number, 200 * number) for number in range(300)]
    sent.append(message(300, 3_000_000))
    maildrop.deliver_many(sent)
    session = opened(tls)
    assert "PIPELINING" in session.capabilities
    listing = session.listing()
    assert [listed.octets for listed in listing] == [len(octets) for octets in sent]
    assert len({listed.unique_id for listed in listing} - {None}) == len(sent)
    numbers = [listed.number for listed in listing]
    heads = [octets.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" for octets in sent]
    assert [block for _, block in session.header_blocks(numbers)] == heads
    came = []
    for retrieval in session.retrieve(numbers):
        came.append(b"".join(map(bytes, retrieval)))
        session.delete(retrieval.number)
    assert came == sent
    assert session.quit() == Farewell(frozenset(numbers), {})
    assert maildrop.count() == 0


def test_without_quit_nothing_is_deleted(opened: Opened, maildrop: Maildrop) -> None:
    maildrop.deliver_many(message(number) for number in range(3))
    session = opened()
    session.listing()
    for retrieval in session.retrieve([1, 2, 3]):
        session.delete(retrieval.number)
    session.drop()
    assert len(opened().listing()) == 3


@every_kind_of_tls
def test_a_session_is_kept_alive_between_retrieving_and_deleting(
    opened: Opened, maildrop: Maildrop, tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "KEEP_ALIVE_SECONDS", 0)
    maildrop.deliver_many(message(number) for number in range(3))
    session = opened(tls)
    session.listing()
    for retrieval in session.retrieve([1, 2, 3]):
        session.keep_alive()
        assert b"".join(map(bytes, retrieval)) == message(retrieval.number - 1)
    session.delete(1)
    session.keep_alive()
    session.delete(2)
    session.keep_alive()
    assert session.quit() == Farewell(frozenset({1, 2}), {})
    assert maildrop.messages() == [message(2)]


def test_unique_ids_stay_from_session_to_session(opened: Opened, maildrop: Maildrop) -> None:
    maildrop.deliver_many(message(number) for number in range(3))
    first = opened().listing()
    assert opened().listing() == first


def test_a_message_that_is_gone_is_refused(opened: Opened, maildrop: Maildrop) -> None:
    maildrop.deliver_many(message(number) for number in range(2))
    session = opened()
    session.listing()
    refusals = [retrieval.refusal for retrieval in session.retrieve([1, 7, 2])]
    assert refusals[0] is refusals[2] is None
    assert refusals[1]


@every_kind_of_tls
def test_a_wrong_password_is_refused(opened: Opened, tls: Tls) -> None:
    with pytest.raises(SignInRefused, match="m1 at localhost"):
        opened(tls, password="wrong")


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_an_unknown_authority_is_not_trusted(opened: Opened, tls: Tls) -> None:
    with pytest.raises(TlsFailed, match="not trusted"):
        opened(tls, trusted=False)


def test_long_credentials_go_by_challenge(opened: Opened) -> None:
    with pytest.raises(SignInRefused):
        opened(password="x" * 300)
