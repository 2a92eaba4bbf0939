"""However the octets are cut into reads, the merged events are the same."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.pop3 import commands
from ingest.pop3.events import BodyEnd, BodyOctets, Reply
from tests.unit.pop3.transcript import SIGNED_IN, feed, play

# Few different octets, so that every combination of those that matter comes up.
tricky = st.text("\r\n.a", max_size=40).map(str.encode)
cuts = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def stuffed(octets: bytes) -> bytes:
    """The answer's lines for a message that ends in CR LF (RFC 1939 section 3)."""
    return re.sub(rb"(\A|\r\n)\.", rb"\1..", octets) + b".\r\n"


def unstuffed(wire: bytes) -> tuple[bytes, bool]:
    """By lines, slow and plain: what a multi-line answer means, and whether it is complete."""
    *lines, rest = wire.split(b"\r\n")
    octets = b""
    for line in lines:
        if line == b".":
            return octets, True
        octets += line.removeprefix(b".") + b"\r\n"
    return octets + rest, False


def retrieved(wire: bytes, sizes: list[int], messages: int) -> list[bytes]:
    """The messages of that many RETR; the last is not complete if it lacks its BodyEnd."""
    connection = play(SIGNED_IN)
    for number in range(1, messages + 1):
        connection.send(commands.retr(number))
    found: list[bytes] = []
    at = 0
    while wire:
        size = sizes[at % len(sizes)]
        at += 1
        read, wire = wire[:size], wire[size:]
        for event in feed(connection, read):
            match event:
                case Reply(_, True):
                    found.append(b"")
                case BodyOctets(octets):
                    found[-1] += octets
                case BodyEnd(total):
                    assert total == len(found[-1])
                    found[-1] += b"END"
    return found


@settings(deadline=None)  # the machine may be busy
@given(bodies=st.lists(tricky, min_size=1, max_size=4), sizes=cuts)
def test_messages_come_back_octet_for_octet(bodies: list[bytes], sizes: list[int]) -> None:
    messages = [body + b"\r\n" if body else b"" for body in bodies]
    wire = b"".join(b"+OK\r\n" + stuffed(message) for message in messages)
    expected = [message + b"END" for message in messages]
    assert retrieved(wire, sizes, len(messages)) == expected
    assert retrieved(wire, [len(wire)], len(messages)) == expected


@settings(deadline=None)  # the machine may be busy
@given(wire=tricky, sizes=cuts)
def test_a_hostile_answer_means_what_its_lines_mean(wire: bytes, sizes: list[int]) -> None:
    octets, complete = unstuffed(wire)
    if complete:
        end = 0 if wire.startswith(b".\r\n") else wire.index(b"\r\n.\r\n") + 2
        wire = wire[: end + 3]
        expected = octets + b"END"
    else:
        wire += b"a"  # so that nothing is held back
        expected = unstuffed(wire)[0]
        last = wire.rpartition(b"\r\n")[2]
        if last.startswith(b"."):
            expected = unstuffed(wire[: len(wire) - len(last)])[0] + last[1:]
    assert retrieved(b"+OK\r\n" + wire, sizes, 1) == [expected]
    assert retrieved(b"+OK\r\n" + wire, [len(wire) + 5], 1) == [expected]
