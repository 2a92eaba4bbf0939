from collections.abc import Iterable

import pytest

from ingest.errors import ConnectionFailed, LocalProtocolError, RemoteProtocolError
from ingest.pop3 import commands
from ingest.pop3.connection import Connection
from ingest.pop3.events import BodyOctets, Event
from ingest.pop3.state import State
from tests.unit.pop3.transcript import CHUNKS, SIGNED_IN, feed, merged, play


def octets_of(events: Iterable[Event]) -> bytes:
    return b"".join(event.octets for event in events if isinstance(event, BodyOctets))


NO_STATUS = "a status line begins neither with +OK nor with -ERR"

every_chunking = pytest.mark.parametrize("chunk", CHUNKS)


@every_chunking
def test_a_whole_session_rfc_1939_section_10(chunk: int) -> None:
    connection = play(
        r"""
        S: +OK POP3 server ready <1896.697170952@dbc.mtview.ca.us>
        = greeting +OK 'POP3 server ready <1896.697170952@dbc.mtview.ca.us>'
        C: USER mrose
        S: +OK
        = USER +OK ''
        C: PASS secret
        S: +OK mrose's maildrop has 2 messages (320 octets)
        = PASS +OK "mrose's maildrop has 2 messages (320 octets)"
        C: STAT
        S: +OK 2 320
        = STAT +OK '2 320'
        C: LIST
        S: +OK 2 messages (320 octets)
        S: 1 120
        S: 2 200
        S: .
        = LIST +OK '2 messages (320 octets)'
        = lines [b'1 120', b'2 200']
        = end of listing
        C: RETR 1
        S: +OK 120 octets
        S: Subject: one
        S| \r\n
        S: Good day.
        S: .
        = RETR 1 +OK '120 octets'
        = octets b'Subject: one\r\n\r\nGood day.\r\n'
        = end of 27 octets
        C: DELE 1
        S: +OK message 1 deleted
        = DELE 1 +OK 'message 1 deleted'
        C: QUIT
        S: +OK dewey POP3 server signing off (maildrop empty)
        = QUIT +OK 'dewey POP3 server signing off (maildrop empty)'
        """,
        chunk,
    )
    assert connection.state is State.UPDATE
    connection.eof()


@every_chunking
def test_noop_is_answered_by_a_status_and_changes_nothing_rfc_1939_section_5(chunk: int) -> None:
    connection = play(
        SIGNED_IN
        + r"""
        C: DELE 1
        C: NOOP
        C: STAT
        S: +OK message 1 deleted
        S: +OK
        S: +OK 1 200
        = DELE 1 +OK 'message 1 deleted'
        = NOOP +OK ''
        = STAT +OK '1 200'
        """,
        chunk,
    )
    assert connection.state is State.TRANSACTION


@every_chunking
def test_pipelined_replies_come_in_command_order(chunk: int) -> None:
    play(
        SIGNED_IN
        + r"""
        C: RETR 1
        C: DELE 9
        C: RETR 2
        C: RETR 3
        S: +OK
        S: one
        S: .
        S: -ERR no such message
        S: -ERR [SYS/TEMP] try later
        S: +OK
        S: three
        S: .
        = RETR 1 +OK ''
        = octets b'one\r\n'
        = end of 5 octets
        = DELE 9 -ERR 'no such message'
        = RETR 2 -ERR [SYS/TEMP] 'try later'
        = RETR 3 +OK ''
        = octets b'three\r\n'
        = end of 7 octets
        """,
        chunk,
    )


@every_chunking
@pytest.mark.parametrize(
    ("wire", "octets"),
    [
        (r"..\r\n", r".\r\n"),
        (r"...\r\n", r"..\r\n"),
        (r"..\r\n..\r\n..a\r\n", r".\r\n.\r\n.a\r\n"),
        (r".a\r\n", r"a\r\n"),  # RFC 1939 section 3: the octet is stripped, whatever follows
        (r"a\n.\nb\r\n", r"a\n.\nb\r\n"),
        (r"a\r.\rb\r\n", r"a\r.\rb\r\n"),
        (r"a\n.\r\nb\r\n", r"a\n.\r\nb\r\n"),
        (r"a\r\r\n..\r\r\n", r"a\r\r\n.\r\r\n"),
        (r"\r\n\r\n", r"\r\n\r\n"),
        (r"\0.\xff\r\n", r"\x00.\xff\r\n"),
        (r"..\r\na.\r\n", r".\r\na.\r\n"),
        (r"a.\r\n+OK\r\n-ERR\r\n", r"a.\r\n+OK\r\n-ERR\r\n"),
    ],
)
def test_stuffing_is_only_taken_out_behind_cr_lf(wire: str, octets: str, chunk: int) -> None:
    size = len(octets.encode().decode("unicode_escape"))
    play(
        SIGNED_IN
        + rf"""
        C: RETR 1
        C: DELE 1
        S: +OK
        S| {wire}.\r\n+OK\r\n
        = RETR 1 +OK ''
        = octets b'{octets}'
        = end of {size} octets
        = DELE 1 +OK ''
        """,
        chunk,
    )


@every_chunking
def test_a_dot_right_after_the_status_line_ends_an_empty_message(chunk: int) -> None:
    play(
        SIGNED_IN
        + r"""
        C: RETR 1
        C: LIST
        S: +OK
        S: .
        S: +OK
        S: .
        = RETR 1 +OK ''
        = end of 0 octets
        = LIST +OK ''
        = end of listing
        """,
        chunk,
    )


@every_chunking
@pytest.mark.parametrize("line_end", [r"\n.\n", r"\n.\r\n", r"\r\n.\n", r"\r.\r", r"\r\n.\r"])
def test_no_other_line_ends_make_a_terminator(line_end: str, chunk: int) -> None:
    """Otherwise a message could end itself early and forge the replies behind it."""
    connection = play(SIGNED_IN)
    connection.send(commands.retr(1))
    forged = f"+OK\r\na{line_end}+OK forged\r\n"
    wire = forged.encode().decode("unicode_escape").encode()
    events = merged(feed(connection, wire, chunk))
    assert not [event for event in events if event.startswith("= end")]
    assert "forged" in events[-1]
    with pytest.raises(ConnectionFailed, match="in the middle of its answer to RETR 1"):
        connection.eof()


@pytest.mark.parametrize("held", [b".", b".\r"])
@pytest.mark.parametrize("before", [b"", b"a\r\n", b"..\r\n"])
def test_octets_that_may_begin_the_terminator_are_held_back(before: bytes, held: bytes) -> None:
    connection = play(SIGNED_IN)
    connection.send(commands.retr(1))
    first = octets_of(feed(connection, b"+OK\r\n" + before + held))
    assert first == before.replace(b"..", b".")
    assert octets_of(feed(connection, b"x\r\n.\r\n")) == held[1:] + b"x\r\n"


def test_a_message_that_sits_in_the_buffer_is_one_view() -> None:
    connection = play(SIGNED_IN)
    for number in range(1, 101):
        connection.send(commands.retr(number))
    wire = b"+OK\r\nSubject: a.b\r\n\r\nGood day.\r\n.\r\n" * 100
    assert len(list(feed(connection, wire))) == 300


def test_a_message_without_any_dot_passes_in_views_of_whole_reads() -> None:
    connection = play(SIGNED_IN)
    connection.send(commands.retr(1))
    list(feed(connection, b"+OK\r\n"))
    assert len(list(feed(connection, b"A" * 1_000_000, 100_000))) == 10


@every_chunking
def test_a_sasl_challenge_is_answered_rfc_5034_section_4(chunk: int) -> None:
    connection = play(
        "S: +OK\n= greeting +OK ''\nC: AUTH PLAIN\nS| + \\r\\n\n= challenge ''", chunk
    )
    with pytest.raises(LocalProtocolError, match="can't follow AUTH"):
        connection.send(commands.CAPA)
    assert connection.respond(b"\0u\0p") == b"AHUAcA==\r\n"
    play("S: +OK welcome\n= AUTH +OK 'welcome'", chunk, connection)
    assert connection.state is State.TRANSACTION


def test_a_challenge_is_not_followed_by_anything_but_our_response() -> None:
    play(
        r"""
        S: +OK
        = greeting +OK ''
        C: AUTH PLAIN
        S| + \r\n+OK\r\n
        = challenge ''
        ! the server answered without being asked
        """
    )


def test_a_sasl_response_without_a_challenge_is_refused() -> None:
    connection = play("S: +OK\n= greeting +OK ''\nC: AUTH PLAIN")
    with pytest.raises(LocalProtocolError):
        connection.respond(b"x")


@every_chunking
def test_plaintext_behind_the_answer_to_stls_is_fatal_rfc_2595_section_4(chunk: int) -> None:
    opening = "S: +OK\n= greeting +OK ''\nC: STLS\nS: +OK begin\n"
    if chunk > 16:
        play(opening + r"S| +OK\r\n" + "\n! plaintext follows the answer to STLS", chunk)
    connection = play(opening + "= STLS +OK 'begin'", chunk)
    with pytest.raises(LocalProtocolError, match="HANDSHAKE"):
        connection.send(commands.CAPA)
    with pytest.raises(RemoteProtocolError, match="without being asked"):
        list(feed(connection, b"+OK\r\n", chunk))


def test_tls_leads_back_to_authorization() -> None:
    connection = play("S: +OK\n= greeting +OK ''\nC: STLS\nS: +OK\n= STLS +OK ''")
    connection.secured()
    connection.send(commands.CAPA)
    with pytest.raises(LocalProtocolError):
        connection.secured()


@every_chunking
@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("S: OK", NO_STATUS),
        ("S: +ok", NO_STATUS),
        ("S: +OKAY", NO_STATUS),
        ("S: -ERR: no", NO_STATUS),
        ("S: * OK IMAP", NO_STATUS),
        (r"S| \r\n", NO_STATUS),
        (r"S| +\r\n", NO_STATUS),
        (r"S| + \r\n", "STAT is answered by a continuation"),
        (r"S| +OK\n", "a status line ends in LF without CR"),
        ("S: +OK " + "x" * 4096, "a status line is over 4096 octets"),
        ("S| " + "x" * 4096, "a status line is over 4096 octets"),
    ],
)
def test_a_status_is_exact(line: str, error: str, chunk: int) -> None:
    connection = play(SIGNED_IN + f"C: STAT\n{line}\n! {error}", chunk)
    assert connection.state is State.CLOSED
    with pytest.raises(LocalProtocolError):
        connection.send(commands.STAT)
    with pytest.raises(LocalProtocolError):
        list(connection.received(1))


@every_chunking
def test_a_reply_to_no_command_is_an_error(chunk: int) -> None:
    play(
        SIGNED_IN
        + """
        C: STAT
        S: +OK 0 0
        = STAT +OK '0 0'
        S: +OK again
        ! the server answered without being asked
        """,
        chunk,
    )


def test_a_refusing_greeting_is_an_event() -> None:
    play("S: -ERR [SYS/TEMP] too many of you\n= greeting -ERR [SYS/TEMP] 'too many of you'")


def test_a_greeting_of_another_protocol_is_quoted() -> None:
    play("S: * OK IMAP4rev1 ready\n! the greeting begins with b'* OK IMAP4rev1 r'")


def test_a_greeting_is_no_continuation() -> None:
    play("S: + hello\n! the greeting is a continuation")


@every_chunking
@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ("1 1\r\n2 2\r\n3 3\r\n4 4\r\n", "LIST lists more than 3 lines"),
        ("x" * 21 + "\r\n", "a line of LIST is over 20 octets"),
        ("x" * 40, "a line of LIST is over 20 octets"),
    ],
)
def test_a_listing_is_bounded(lines: str, error: str, chunk: int) -> None:
    connection = Connection(max_listing_lines=3, max_listing_line_octets=20)
    play(SIGNED_IN, connection=connection)
    connection.send(commands.LIST)
    with pytest.raises(RemoteProtocolError, match=error):
        list(feed(connection, b"+OK\r\n" + lines.encode(), chunk))


@every_chunking
def test_capabilities_are_fewer_than_messages_may_be(chunk: int) -> None:
    connection = play("S: +OK\n= greeting +OK ''\nC: CAPA")
    assert merged(feed(connection, b"+OK\r\n" + b"X\r\n" * 100, chunk))
    with pytest.raises(RemoteProtocolError, match="CAPA lists more than 100 lines"):
        list(feed(connection, b"X\r\n", chunk))


def test_a_listing_is_unstuffed() -> None:
    play(
        SIGNED_IN
        + "C: UIDL\nS: +OK\nS: ..1\nS: .\n= UIDL +OK ''\n= lines [b'.1']\n= end of listing"
    )


@pytest.mark.parametrize(
    ("transcript", "error"),
    [
        ("", "the server closed the connection$"),
        (SIGNED_IN, "the server closed the connection$"),
        (SIGNED_IN + "C: RETR 7", "without an answer to RETR 7"),
        (SIGNED_IN + "C: RETR 7\nS| +O", "without an answer to RETR 7"),
        (
            SIGNED_IN + "C: RETR 7\nS: +OK\nS: a\n= RETR 7 +OK ''\n= octets b'a\\r\\n'",
            "in the middle of its answer to RETR 7",
        ),
        (SIGNED_IN + "C: QUIT", "without an answer to QUIT"),
    ],
)
def test_the_end_of_the_connection_before_its_time_is_an_error(transcript: str, error: str) -> None:
    connection = play(transcript)
    with pytest.raises(ConnectionFailed, match=error):
        connection.eof()
    assert connection.state is State.CLOSED


def test_quit_before_signing_in_closes() -> None:
    connection = play("S: +OK\n= greeting +OK ''\nC: QUIT\nS: +OK\n= QUIT +OK ''")
    assert connection.state is State.CLOSED
    connection.eof()


@pytest.mark.parametrize(
    ("transcript", "command"),
    [
        ("", commands.CAPA),
        ("S: +OK\n= greeting +OK ''", commands.STAT),
        ("S: +OK\n= greeting +OK ''", commands.NOOP),
        (SIGNED_IN, commands.STLS),
        (SIGNED_IN, commands.user("u")),
        (SIGNED_IN + "C: QUIT", commands.STAT),
        (SIGNED_IN + "C: QUIT", commands.NOOP),
        (SIGNED_IN + "C: QUIT\nS: +OK\n= QUIT +OK ''", commands.STAT),
        ("S: +OK\n= greeting +OK ''\nC: STLS", commands.CAPA),
        ("S: +OK\n= greeting +OK ''\nC: PASS p", commands.CAPA),
    ],
)
def test_a_command_out_of_place_is_refused(transcript: str, command: commands.Command) -> None:
    connection = play(transcript)
    awaited = connection.awaited
    with pytest.raises(LocalProtocolError):
        connection.send(command)
    assert connection.awaited == awaited
