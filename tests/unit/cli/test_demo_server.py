from __future__ import annotations

import poplib
import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ingest.cli.demo.server import DemoServer, Waiting

FIRST = b"Subject: one\r\n\r\n.a line with a dot\r\n..\r\nend\r\n"
SECOND = b".Odd: header\r\n\r\n" + b"x" * 600_000 + b"\r\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DemoServer]:
    maildrops = {"ana": [Waiting("u1", FIRST), Waiting("u1", SECOND)], "bo": []}
    with DemoServer(maildrops, password="sesame", directory=tmp_path) as running:
        yield running


def connect(server: DemoServer) -> poplib.POP3_SSL:
    context = ssl.create_default_context(cafile=str(server.certificate))
    return poplib.POP3_SSL("localhost", server.port, context=context, timeout=10)


def signed_in(server: DemoServer, user: str = "ana") -> poplib.POP3_SSL:
    client = connect(server)
    client.user(user)
    client.pass_("sesame")
    return client


def raw(client: poplib.POP3_SSL, octets: bytes, end: bytes) -> bytes:
    client.sock.sendall(octets)
    answer = b""
    while not answer.endswith(end):
        block = client.sock.recv(65536)
        assert block, "the server closed the connection"
        answer += block
    return answer


def test_it_lists_what_waits_and_may_repeat_a_unique_id(server: DemoServer) -> None:
    with closing(signed_in(server)) as client:
        assert client.stat() == (2, len(FIRST) + len(SECOND))
        assert client.list()[1] == [b"1 %d" % len(FIRST), b"2 %d" % len(SECOND)]
        assert client.uidl()[1] == [b"1 u1", b"2 u1"]


def test_a_retrieved_message_is_stuffed_and_ends_with_its_terminator(server: DemoServer) -> None:
    with closing(signed_in(server)) as client:
        first = raw(client, b"RETR 1\r\n", b"\r\n.\r\n")
        second = raw(client, b"RETR 2\r\n", b"\r\n.\r\n")

    assert first == b"+OK\r\nSubject: one\r\n\r\n..a line with a dot\r\n...\r\nend\r\n.\r\n"
    assert second == b"+OK\r\n." + SECOND + b".\r\n"


def test_top_sends_the_header_block_and_so_many_lines(server: DemoServer) -> None:
    with closing(signed_in(server)) as client:
        assert client.top(1, 0)[1] == [b"Subject: one", b""]
        assert client.top(1, 1)[1] == [b"Subject: one", b"", b".a line with a dot"]


def test_pipelined_commands_are_answered_in_order(server: DemoServer) -> None:
    with closing(signed_in(server)) as client:
        answer = raw(client, b"NOOP\r\nDELE 1\r\nUIDL\r\n", b"\r\n.\r\n")

    assert answer == b"+OK\r\n+OK marked\r\n+OK\r\n2 u1\r\n.\r\n"


def test_a_delete_takes_effect_at_quit_only(server: DemoServer) -> None:
    with closing(signed_in(server)) as client:
        client.dele(1)
    assert len(server.waiting("ana")) == 2

    client = signed_in(server)
    client.dele(1)
    client.quit()
    assert [message.octets for message in server.waiting("ana")] == [SECOND]


def test_rset_takes_a_delete_back(server: DemoServer) -> None:
    client = signed_in(server)
    client.dele(1)
    client.rset()
    client.quit()

    assert len(server.waiting("ana")) == 2


def test_auth_plain_works_with_and_without_an_initial_response(server: DemoServer) -> None:
    with closing(connect(server)) as client:
        response = b64encode(b"\0ana\0sesame")
        assert raw(client, b"AUTH PLAIN " + response + b"\r\n", b"\r\n") == b"+OK 2 messages\r\n"
    with closing(connect(server)) as client:
        response = b64encode(b"\0bo\0sesame")
        assert raw(client, b"AUTH PLAIN\r\n", b"\r\n") == b"+ \r\n"
        assert raw(client, response + b"\r\n", b"\r\n") == b"+OK 0 messages\r\n"


def test_a_wrong_password_and_an_unknown_user_are_refused_alike(server: DemoServer) -> None:
    refusals = []
    for user in ("ana", "nobody"):
        with closing(connect(server)) as client:
            client.user(user)
            with pytest.raises(poplib.error_proto) as caught:
                client.pass_("wrong")
            refusals.append(str(caught.value))

    assert refusals[0] == refusals[1]
    assert "[AUTH]" in refusals[0]


def test_a_second_session_finds_the_maildrop_in_use(server: DemoServer) -> None:
    with (
        closing(signed_in(server)),
        closing(connect(server)) as second,
    ):
        second.user("ana")
        with pytest.raises(poplib.error_proto, match="IN-USE"):
            second.pass_("sesame")


@pytest.mark.parametrize("command", ["STAT", "RETR 1", "DELE 1", "XYZZY", "AUTH PLAIN !!!"])
def test_nothing_is_given_away_before_sign_in(server: DemoServer, command: str) -> None:
    with closing(connect(server)) as client:
        answer = raw(client, command.encode() + b"\r\n", b"\r\n")
        assert answer.startswith(b"-ERR")


@pytest.mark.parametrize(
    "command", ["RETR 3", "RETR 0", "RETR x", "RETR", "DELE", "TOP 1", "TOP 1 x"]
)
def test_a_wrong_argument_is_refused_and_the_session_goes_on(
    server: DemoServer, command: str
) -> None:
    with closing(signed_in(server)) as client:
        assert raw(client, command.encode() + b"\r\n", b"\r\n").startswith(b"-ERR")
        assert client.noop() == b"+OK"


def test_the_private_key_does_not_stay_on_the_disk(server: DemoServer) -> None:
    assert [path.name for path in server.certificate.parent.iterdir()] == ["demo-server.pem"]
