import time
from collections.abc import Iterator

import pytest

from ingest.errors import CommandRefused, ConnectionFailed, LeaseLost, RemoteProtocolError
from ingest.intake.ports import Farewell, Maildrop
from ingest.model import Listed
from ingest.pop3.headers import MAX_HEADER_BLOCK_OCTETS, HeaderBlock
from ingest.transport import maildrop as module
from ingest.transport.maildrop import Pop3Maildrop
from tests.fakes.pop3_server import CAPABILITIES, USERNAME, Faults, Pop3Server
from tests.unit.transport.conftest import OpenMaildrop

ONE_BY_ONE = tuple(name for name in CAPABILITIES if name != "PIPELINING")

with_and_without_pipelining = pytest.mark.parametrize(
    "capabilities", [CAPABILITIES, ONE_BY_ONE, None]
)


def message(number: int, octets: int = 0) -> bytes:
    return b"Subject: %d\r\n\r\n.a dot\r\n..\r\n%b\r\n" % (number, b"x" * octets)


def messages(count: int, octets: int = 0) -> list[tuple[str, bytes]]:
    return [(f"id{number}", message(number, octets)) for number in range(1, count + 1)]


def read_all(maildrop: Pop3Maildrop, numbers: range) -> dict[int, bytes]:
    return {
        retrieval.number: b"".join(map(bytes, retrieval))
        for retrieval in maildrop.retrieve(numbers)
    }


def test_it_is_what_the_intake_asks_for(opened: OpenMaildrop) -> None:
    with Pop3Server() as server:
        maildrop: Maildrop = opened(server)
        assert maildrop.listing() == []


# Listing


@with_and_without_pipelining
def test_a_listing_merges_list_and_uidl(
    opened: OpenMaildrop, capabilities: tuple[str, ...] | None
) -> None:
    with Pop3Server(messages(3), faults=Faults(capabilities=capabilities)) as server:
        assert opened(server).listing() == [
            Listed(number, len(message(number)), f"id{number}") for number in (1, 2, 3)
        ]


@pytest.mark.parametrize(
    ("uidl", "unique_ids"),
    [
        (b"-ERR no\r\n", [None, None]),
        (b"+OK\r\n1 same\r\n2 same\r\n.\r\n", [None, None]),
        (b"+OK\r\n1 a\r\n1 b\r\n2 c\r\n.\r\n", [None, "c"]),
        (b"+OK\r\n1 \r\n2 c d\r\n.\r\n", [None, None]),
        (b"+OK\r\n2 c\r\n.\r\n", [None, "c"]),
        (b"+OK\r\nnonsense\r\n0 x\r\n1 a\r\n.\r\n", ["a", None]),
    ],
)
def test_a_unique_id_that_names_no_single_message_is_none(
    opened: OpenMaildrop, uidl: bytes, unique_ids: list[str | None]
) -> None:
    with Pop3Server(messages(2), faults=Faults(say={"UIDL": uidl})) as server:
        assert [listed.unique_id for listed in opened(server).listing()] == unique_ids


def test_unique_ids_that_change_are_told_as_they_come(opened: OpenMaildrop) -> None:
    changing = Faults(unique_ids=lambda unique_id, session: f"{unique_id}-{session}")
    with Pop3Server(messages(1), faults=changing) as server:
        seen = [opened(server).listing()[0].unique_id for _ in range(2)]
        assert seen == ["id1-1", "id1-2"]


def test_a_message_that_only_uidl_has_is_listed(opened: OpenMaildrop) -> None:
    faults = Faults(say={"LIST": b"+OK\r\n1 5\r\n1 6\r\n3 -1\r\n.\r\n"})
    with Pop3Server(messages(2), faults=faults) as server:
        assert opened(server).listing() == [
            Listed(1, 5, "id1"),
            Listed(2, 0, "id2"),
            Listed(3, 0, None),
        ]


@with_and_without_pipelining
def test_a_refused_list_of_nothing_is_nothing(
    opened: OpenMaildrop, capabilities: tuple[str, ...] | None
) -> None:
    refusing = Faults(capabilities=capabilities, refuse={"LIST": "no messages", "UIDL": "no"})
    with Pop3Server(faults=refusing) as server:
        assert opened(server).listing() == []


@pytest.mark.parametrize("command", ["STAT", "LIST"])
def test_a_refused_listing_is_an_error(opened: OpenMaildrop, command: str) -> None:
    refusing = Faults(refuse={command: f"not for {USERNAME}"})
    with (
        Pop3Server(messages(1), faults=refusing) as server,
        pytest.raises(CommandRefused, match=rf"m1 at .* refuses {command}") as refused,
    ):
        opened(server).listing()
    assert USERNAME not in str(refused.value)


@pytest.mark.parametrize(
    "faults",
    [
        Faults(say={"STAT": b"+OK many\r\n"}),
        Faults(say={"LIST": b"+OK\r\nnonsense\r\n.\r\n"}),
        Faults(say={"LIST": b"nonsense\r\n"}),
    ],
)
def test_a_listing_that_can_not_be_read_is_an_error(opened: OpenMaildrop, faults: Faults) -> None:
    with (
        Pop3Server(messages(1), faults=faults) as server,
        pytest.raises(RemoteProtocolError, match=r"^mailbox m1 at 127"),
    ):
        opened(server).listing()


@pytest.mark.parametrize(
    ("announced", "seconds"),
    [("LOGIN-DELAY 900 USER", 900), ("LOGIN-DELAY", 0), ("LOGIN-DELAY soon", 0), ("TOP", 0)],
)
def test_the_login_delay_is_what_capa_says(
    opened: OpenMaildrop, announced: str, seconds: int
) -> None:
    with Pop3Server(faults=Faults(capabilities=(announced,))) as server:
        assert opened(server).login_delay == seconds


# Header blocks


@with_and_without_pipelining
def test_header_blocks_end_with_the_empty_line(
    opened: OpenMaildrop, capabilities: tuple[str, ...] | None
) -> None:
    with Pop3Server(messages(300), faults=Faults(capabilities=capabilities)) as server:
        blocks = opened(server).header_blocks(range(1, 301))
        assert list(blocks) == [(n, b"Subject: %d\r\n\r\n" % n) for n in range(1, 301)]


@pytest.mark.parametrize("octets", [message(1), b"A: b\r\n", b"\r\nbody\r\n", b"A: b\n\nbody\r\n"])
def test_a_header_block_is_the_same_from_top_and_from_retr(
    opened: OpenMaildrop, octets: bytes
) -> None:
    with Pop3Server([("a", octets)]) as server:
        maildrop = opened(server)
        ((_, block),) = maildrop.header_blocks([1])
        whole = HeaderBlock()
        for retrieval in maildrop.retrieve([1]):
            for view in retrieval:
                whole.feed(view)
        assert block is not None
        assert whole.octets() == block


def test_a_server_that_leaves_the_empty_line_out_of_top_gives_the_same_block(
    opened: OpenMaildrop,
) -> None:
    faults = Faults(say={"TOP": b"+OK\r\nSubject: 1\r\n.\r\n"})
    with Pop3Server(messages(1), faults=faults) as server:
        assert list(opened(server).header_blocks([1])) == [(1, b"Subject: 1\r\n\r\n")]


def test_a_refused_top_gives_no_header_block(opened: OpenMaildrop) -> None:
    with Pop3Server(messages(2), faults=Faults(refuse={"TOP 1": "no"})) as server:
        blocks = dict(opened(server).header_blocks([1, 2]))
        assert blocks == {1: None, 2: b"Subject: 2\r\n\r\n"}


def test_a_server_without_top_is_not_asked(opened: OpenMaildrop) -> None:
    with Pop3Server(messages(2), faults=Faults(capabilities=("UIDL",))) as server:
        assert list(opened(server).header_blocks([1, 2])) == [(1, None), (2, None)]
        assert not [command for command in server.commands() if command.startswith("TOP")]


def test_a_header_block_over_the_limit_is_none_and_the_next_one_is_read(
    opened: OpenMaildrop,
) -> None:
    endless = b"A: b\r\n" * (MAX_HEADER_BLOCK_OCTETS // 6 + 1)
    with Pop3Server([("a", endless), *messages(1)]) as server:
        blocks = list(opened(server).header_blocks([1, 2]))
        assert blocks == [(1, None), (2, b"Subject: 1\r\n\r\n")]


# Retrieving


@with_and_without_pipelining
@pytest.mark.parametrize("one_octet_at_a_time", [False, True])
def test_messages_come_octet_for_octet(
    opened: OpenMaildrop, capabilities: tuple[str, ...] | None, *, one_octet_at_a_time: bool
) -> None:
    faults = Faults(capabilities=capabilities, one_octet_at_a_time=one_octet_at_a_time)
    with Pop3Server(messages(10), faults=faults) as server:
        expected = {number: message(number) for number in range(1, 11)}
        assert read_all(opened(server), range(1, 11)) == expected


def test_more_messages_than_the_window_holds_all_come(opened: OpenMaildrop) -> None:
    with Pop3Server(messages(1000)) as server:
        maildrop = opened(server)
        maildrop.listing()
        assert read_all(maildrop, range(1, 1001)) == {n: message(n) for n in range(1, 1001)}


def test_no_more_numbers_are_asked_for_than_the_window_needs(opened: OpenMaildrop) -> None:
    with Pop3Server(messages(1000)) as server:
        asked: list[int] = []

        def numbers() -> Iterator[int]:
            for number in range(1, 1001):
                asked.append(number)
                yield number

        most = 0
        for done, retrieval in enumerate(opened(server).retrieve(numbers())):
            most = max(most, len(asked) - done)
            list(retrieval)
        assert module.WINDOW_COMMANDS <= most <= module.WINDOW_COMMANDS + 1
        assert asked == list(range(1, 1001))


def test_the_window_is_bounded_in_announced_octets(
    opened: OpenMaildrop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WINDOW_OCTETS", 10_000)
    with Pop3Server(messages(50, octets=1000)) as server:
        maildrop = opened(server)
        listing = maildrop.listing()
        asked: list[int] = []

        def numbers() -> Iterator[int]:
            for listed in listing:
                asked.append(listed.octets)
                yield listed.number

        for done, retrieval in enumerate(maildrop.retrieve(numbers()), 1):
            ahead = asked[done:]
            assert sum(ahead[:-1]) < 10_000  # the last one may reach over
            list(retrieval)
        assert len(asked) == 50


@pytest.mark.parametrize("announced", [0, 1, 10**15])
def test_announced_octets_are_no_framing(opened: OpenMaildrop, announced: int) -> None:
    with Pop3Server(messages(20), faults=Faults(list_octets=lambda _: announced)) as server:
        maildrop = opened(server)
        assert {listed.octets for listed in maildrop.listing()} == {announced}
        assert read_all(maildrop, range(1, 21)) == {n: message(n) for n in range(1, 21)}


def test_a_refused_message_does_not_hold_up_the_others(opened: OpenMaildrop) -> None:
    refusing = Faults(refuse={"RETR 2": f"can't open {USERNAME}/2"})
    with Pop3Server(messages(3), faults=refusing) as server:
        seen = {
            retrieval.number: (retrieval.refusal, b"".join(map(bytes, retrieval)))
            for retrieval in opened(server).retrieve([1, 2, 3])
        }
        assert seen == {
            1: (None, message(1)),
            2: ("can't open <private>/2", b""),
            3: (None, message(3)),
        }


@with_and_without_pipelining
def test_octets_that_are_not_read_are_skipped(
    opened: OpenMaildrop, capabilities: tuple[str, ...] | None
) -> None:
    with Pop3Server(messages(3, 300_000), faults=Faults(capabilities=capabilities)) as server:
        first = {}
        for retrieval in opened(server).retrieve([1, 2, 3]):
            first[retrieval.number] = bytes(next(iter(retrieval)))[:10]
        assert first == {1: b"Subject: 1", 2: b"Subject: 2", 3: b"Subject: 3"}


def test_a_retrieval_whose_turn_is_over_takes_nothing_from_the_next(opened: OpenMaildrop) -> None:
    with Pop3Server(messages(2, 300_000)) as server:
        retrievals = opened(server).retrieve([1, 2])
        first, second = next(retrievals), next(retrievals)
        assert list(first) == []
        assert b"".join(map(bytes, second)) == message(2, 300_000)


def test_a_caller_that_stops_in_the_middle_can_go_on_with_something_else(
    opened: OpenMaildrop,
) -> None:
    with Pop3Server(messages(300, 3000)) as server:
        maildrop = opened(server)
        for retrieval in maildrop.retrieve(range(1, 301)):
            next(iter(retrieval))
            break
        assert next(maildrop.header_blocks(range(1, 301))) == (1, b"Subject: 1\r\n\r\n")
        assert len(maildrop.listing()) == 300
        assert read_all(maildrop, range(7, 8)) == {7: message(7, 3000)}
        assert maildrop.quit() == Farewell(frozenset(), {})


def test_a_connection_that_is_cut_is_an_error_wherever(opened: OpenMaildrop) -> None:
    with Pop3Server(messages(2, 50)) as server:
        maildrop = opened(server)
        before = server.sent
        whole = read_all(maildrop, range(1, 3))
        for cut_at in range(before, server.sent):
            server.faults = Faults(cut_at=cut_at)
            read: dict[int, bytes] = {}
            with pytest.raises(ConnectionFailed, match=r"m1 at .*server closed"):
                read_into(read, opened(server))
            assert read.items() <= whole.items()


def read_into(read: dict[int, bytes], maildrop: Pop3Maildrop) -> None:
    for retrieval in maildrop.retrieve([1, 2]):
        read[retrieval.number] = b"".join(map(bytes, retrieval))


def test_garbage_instead_of_a_reply_is_an_error(opened: OpenMaildrop) -> None:
    with (
        Pop3Server(messages(1), faults=Faults(say={"RETR": b"garbage\r\n"})) as server,
        pytest.raises(RemoteProtocolError, match=r"m1 at .*begins neither with"),
    ):
        read_all(opened(server), range(1, 2))


def test_a_lost_lease_ends_a_message(opened: OpenMaildrop) -> None:
    lost = False

    def stop() -> None:
        if lost:
            raise LeaseLost("somebody else has it")

    with Pop3Server(messages(1, 3_000_000)) as server:
        maildrop = opened(server, stop=stop)
        for retrieval in maildrop.retrieve([1]):
            octets = iter(retrieval)
            next(octets)
            lost = True
            with pytest.raises(LeaseLost):
                list(octets)
            break


# Keeping alive


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that is kept alive at every call."""
    monkeypatch.setattr(module, "KEEP_ALIVE_SECONDS", 0)


@pytest.mark.usefixtures("impatient")
@with_and_without_pipelining
def test_a_session_that_is_kept_alive_outlives_the_autologout_timer(
    opened: OpenMaildrop, capabilities: tuple[str, ...] | None
) -> None:
    faults = Faults(capabilities=capabilities, autologout=0.5)
    with Pop3Server(messages(1), faults=faults) as server:
        maildrop = opened(server)
        read_all(maildrop, range(1, 2))
        for _ in range(8):
            time.sleep(0.1)
            maildrop.keep_alive()
        maildrop.delete(1)
        assert maildrop.quit() == Farewell(frozenset({1}), {})
        assert server.commands().count("NOOP") == 8


@pytest.mark.usefixtures("impatient")
def test_a_session_that_is_not_kept_alive_is_logged_out_and_deletes_nothing(
    opened: OpenMaildrop,
) -> None:
    with Pop3Server(messages(1), faults=Faults(autologout=0.1)) as server:
        maildrop = opened(server)
        read_all(maildrop, range(1, 2))
        maildrop.delete(1)
        time.sleep(0.3)
        with pytest.raises(ConnectionFailed):
            maildrop.keep_alive()
        with pytest.raises(ConnectionFailed):
            maildrop.quit()
    assert server.deleted == []


@pytest.mark.usefixtures("impatient")
def test_nothing_is_sent_while_messages_are_on_their_way(opened: OpenMaildrop) -> None:
    with Pop3Server(messages(20, 3000)) as server:
        maildrop = opened(server)
        for retrieval in maildrop.retrieve(range(1, 21)):
            maildrop.keep_alive()
            octets = b""
            for view in retrieval:
                octets += view
                maildrop.keep_alive()
            assert octets == message(retrieval.number, 3000)
        maildrop.keep_alive()
        assert server.commands().count("NOOP") == 1


@pytest.mark.usefixtures("impatient")
def test_keeping_alive_takes_in_the_answers_to_deletes_that_went_along(
    opened: OpenMaildrop,
) -> None:
    with Pop3Server(messages(3), faults=Faults(refuse={"DELE 2": "read-only"})) as server:
        maildrop = opened(server)
        for retrieval in maildrop.retrieve([1, 2, 3]):
            list(retrieval)
            maildrop.delete(retrieval.number)
        assert maildrop._dialogue.connection.awaited > 0
        maildrop.keep_alive()
        assert maildrop._dialogue.connection.awaited == 0
        assert maildrop.quit() == Farewell(frozenset({1, 3}), {2: "read-only"})


@pytest.mark.usefixtures("impatient")
def test_a_refused_noop_is_as_good_as_an_accepted_one(opened: OpenMaildrop) -> None:
    with Pop3Server(messages(1), faults=Faults(refuse={"NOOP": "unknown command"})) as server:
        maildrop = opened(server)
        maildrop.keep_alive()
        maildrop.delete(1)
        assert maildrop.quit() == Farewell(frozenset({1}), {})


def test_a_session_is_kept_alive_only_after_a_silence(
    opened: OpenMaildrop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEEP_ALIVE_SECONDS", 0.2)
    with Pop3Server(messages(1)) as server:
        maildrop = opened(server)
        for _ in range(3):
            maildrop.listing()
            maildrop.keep_alive()
        assert "NOOP" not in server.commands()
        for _ in range(10):
            time.sleep(0.05)
            maildrop.keep_alive()
        assert 1 <= server.commands().count("NOOP") <= 2


# Deleting


@with_and_without_pipelining
def test_deletes_go_along_and_take_effect_at_quit(
    opened: OpenMaildrop, capabilities: tuple[str, ...] | None
) -> None:
    with Pop3Server(messages(600), faults=Faults(capabilities=capabilities)) as server:
        maildrop = opened(server)
        for retrieval in maildrop.retrieve(range(1, 601)):
            list(retrieval)
            maildrop.delete(retrieval.number)
        assert len(server.maildrop) == 600
        commands = server.commands()
        assert commands.index("DELE 1") < commands.index("RETR 600")
        assert maildrop.quit() == Farewell(frozenset(range(1, 601)), {})
        assert server.maildrop == []


@with_and_without_pipelining
def test_deletes_without_anything_retrieved_go_before_quit(
    opened: OpenMaildrop, capabilities: tuple[str, ...] | None
) -> None:
    with Pop3Server(messages(600), faults=Faults(capabilities=capabilities)) as server:
        maildrop = opened(server)
        for number in range(1, 601):
            maildrop.delete(number)
        assert maildrop.quit() == Farewell(frozenset(range(1, 601)), {})
        assert len(server.deleted) == 600


def test_many_deletes_before_anything_else_do_not_starve_the_messages(opened: OpenMaildrop) -> None:
    with Pop3Server(messages(3000)) as server:
        maildrop = opened(server)
        for number in range(1, 2000):
            maildrop.delete(number)
        assert len(read_all(maildrop, range(2500, 2510))) == 10
        assert maildrop.quit().deleted == frozenset(range(1, 2000))


def test_no_more_commands_are_unanswered_than_socket_buffers_hold(opened: OpenMaildrop) -> None:
    with Pop3Server(messages(1500)) as server:
        maildrop = opened(server)
        most = 0
        for retrieval in maildrop.retrieve(range(1, 1501)):
            most = max(most, maildrop._dialogue.connection.awaited)
            list(retrieval)
            maildrop.delete(retrieval.number)
        assert most <= module.WINDOW_COMMANDS * 3 // 2
        assert len(maildrop.quit().deleted) == 1500


def test_a_refused_delete_is_told_at_quit(opened: OpenMaildrop) -> None:
    with Pop3Server(messages(3), faults=Faults(refuse={"DELE 2": "read-only"})) as server:
        maildrop = opened(server)
        for number in (1, 2, 3):
            maildrop.delete(number)
        assert maildrop.quit() == Farewell(frozenset({1, 3}), {2: "read-only"})
        assert server.deleted == ["id1", "id3"]


def test_a_refused_quit_settles_nothing(opened: OpenMaildrop) -> None:
    refusing = Faults(refuse={"QUIT": "some deleted messages not removed"})
    with Pop3Server(messages(1), faults=refusing) as server:
        maildrop = opened(server)
        maildrop.delete(1)
        with pytest.raises(CommandRefused, match=r"m1 at .* refuses QUIT"):
            maildrop.quit()


@pytest.mark.parametrize(
    ("faults", "command", "deleted"),
    [
        (Faults(cut_before="DELE"), "DELE", []),
        (Faults(cut_unanswered="DELE"), "DELE", []),
        (Faults(cut_before="QUIT"), "QUIT", []),
        (Faults(cut_unanswered="QUIT"), "QUIT", ["id1"]),
    ],
)
def test_an_unanswered_delete_or_quit_is_an_error(
    opened: OpenMaildrop, faults: Faults, command: str, deleted: list[str]
) -> None:
    with Pop3Server(messages(1), faults=faults) as server:
        maildrop = opened(server)
        maildrop.delete(1)
        with pytest.raises(ConnectionFailed, match=f"without an answer to {command}"):
            maildrop.quit()
    assert server.deleted == deleted


def test_without_quit_nothing_is_deleted(opened: OpenMaildrop) -> None:
    with Pop3Server(messages(1)) as server:
        maildrop = opened(server)
        maildrop.delete(1)
        list(maildrop.retrieve([1]))
        maildrop.drop()
    assert "DELE 1" in server.commands()
    assert server.deleted == []
