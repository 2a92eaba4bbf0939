"""The maildrop that the other tests believe in."""

from __future__ import annotations

import poplib
import ssl

import pytest

from tests.servers.dovecot import Dovecot, Maildrop


def sign_in(dovecot: Dovecot, maildrop: Maildrop) -> poplib.POP3_SSL:
    """A session over POP3S that verifies the server's certificate."""
    trust = ssl.create_default_context(cafile=dovecot.ca_file)
    session = poplib.POP3_SSL(dovecot.host, dovecot.pop3s_port, context=trust)
    session.user(maildrop.name)
    session.pass_(maildrop.password)
    return session


def test_a_delivered_message_is_retrieved_octet_for_octet_and_deleted(
    dovecot: Dovecot, maildrop: Maildrop
) -> None:
    message = b"Subject: one\r\n\r\n.stuffed\r\n8-bit \xe4\r\n"
    maildrop.deliver_many([message, b"Subject: two\r\n\r\n"])
    session = sign_in(dovecot, maildrop)
    _, lines, _ = session.retr(1)
    assert b"".join(line + b"\r\n" for line in lines) == message
    session.dele(1)
    session.quit()
    assert maildrop.messages() == [b"Subject: two\r\n\r\n"]


def test_a_message_delivered_after_clear_is_a_new_one(dovecot: Dovecot, maildrop: Maildrop) -> None:
    file = maildrop.deliver(b"Subject: one\r\n\r\n")
    maildrop.link([file])
    assert maildrop.count() == 2
    session = sign_in(dovecot, maildrop)
    before = session.uidl()[1]
    session.quit()
    maildrop.clear()
    assert maildrop.count() == 0
    maildrop.deliver(b"Subject: one\r\n\r\n")
    session = sign_in(dovecot, maildrop)
    after = session.uidl()[1]
    session.quit()
    assert len(before) == 2
    assert len(after) == 1
    assert after[0] not in before


def test_stls_upgrades_the_plain_port(dovecot: Dovecot, maildrop: Maildrop) -> None:
    session = poplib.POP3(dovecot.host, dovecot.pop3_port)
    assert "STLS" in session.capa()
    session.stls(ssl.create_default_context(cafile=dovecot.ca_file))
    session.user(maildrop.name)
    session.pass_(maildrop.password)
    assert session.stat() == (0, 0)
    session.quit()


def test_a_wrong_password_is_refused(dovecot: Dovecot, maildrop: Maildrop) -> None:
    session = poplib.POP3(dovecot.host, dovecot.pop3_port)
    session.user(maildrop.name)
    with pytest.raises(poplib.error_proto, match="AUTH"):
        session.pass_("wrong")
    session.close()
