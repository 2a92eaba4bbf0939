import contextlib
import resource
import socket
from collections.abc import Callable, Iterator

import pytest

from ingest.errors import ConnectionFailed, DeadlineExceeded, LeaseLost
from ingest.transport.deadlines import Deadlines, Patience
from ingest.transport.sockets import Wire, connect
from tests.fakes.pop3_server import Faults, Pop3Server
from tests.servers.certificates import Certificates
from tests.servers.ports import HOST, free_port
from tests.unit.transport.conftest import OpenMaildrop

PEER = "mailbox m1 at pop.example.org:110"
SHORT = Deadlines(connect_seconds=0.1, idle_seconds=0.1)
LONG = Deadlines(connect_seconds=200, idle_seconds=200)


def patience(deadlines: Deadlines = SHORT, stop: Callable[[], None] = lambda: None) -> Patience:
    return Patience(deadlines, PEER, stop)


class StopAt:
    """Loses the lease at that call."""

    def __init__(self, call: int) -> None:
        self.left = call

    def __call__(self) -> None:
        self.left -= 1
        if self.left <= 0:
            raise LeaseLost("somebody else has it")


@contextlib.contextmanager
def deaf_server() -> Iterator[int]:
    """A port whose queue of connections is full, so that another one gets no answer."""
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.create_server((HOST, 0), backlog=0))
        for _ in range(3):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_name_that_does_not_resolve_is_named_so() -> None:
    with pytest.raises(ConnectionFailed, match=f"{PEER}: the host name does not resolve") as failed:
        connect("no-such-host.invalid", 110, PEER, patience())
    assert failed.value.remedy


@pytest.mark.parametrize("name", ["x" * 300, "a..b"])
def test_a_name_that_can_not_be_one_does_not_resolve(name: str) -> None:
    with pytest.raises(ConnectionFailed, match="does not resolve"):
        connect(name, 110, PEER, patience())


def test_a_refused_connection_is_named_so() -> None:
    with pytest.raises(ConnectionFailed, match=f"{PEER}: the connection was refused"):
        connect(HOST, free_port(), PEER, patience())


def test_a_process_that_may_open_no_more_files_says_so() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as restored:
        restored.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        listener = restored.enter_context(socket.create_server((HOST, 0)))
        resource.setrlimit(resource.RLIMIT_NOFILE, (listener.fileno() + 1, hard))
        with contextlib.suppress(OSError):
            while True:  # below it, too, nothing is left
                restored.enter_context(socket.socket())
        with pytest.raises(ConnectionFailed, match="may open no more files") as failed:
            connect(HOST, listener.getsockname()[1], PEER, patience())
    assert "limit of open files" in failed.value.remedy


def test_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((HOST, 0)) as listener:
        addresses = [(HOST, free_port()), listener.getsockname()]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with connect("pop.example.org", 110, PEER, patience()) as connection:
            assert connection.getpeername() == listener.getsockname()


def test_a_server_that_does_not_answer_ends_with_the_deadline() -> None:
    with deaf_server() as port, pytest.raises(ConnectionFailed, match="does not answer"):
        connect(HOST, port, PEER, patience())


def test_a_lost_lease_ends_the_wait_for_a_connection() -> None:
    with deaf_server() as port, pytest.raises(LeaseLost):
        connect(HOST, port, PEER, patience(LONG, StopAt(2)))


def test_a_lost_lease_ends_the_tls_handshake(opened: OpenMaildrop) -> None:
    with Pop3Server(faults=Faults(stall_at=0)) as server, pytest.raises(LeaseLost):
        opened(server, tls="implicit", deadlines=LONG, stop=StopAt(5))


def test_a_silent_tls_handshake_ends_with_the_deadline(opened: OpenMaildrop) -> None:
    with (
        Pop3Server(faults=Faults(stall_at=0)) as server,
        pytest.raises(DeadlineExceeded, match="the TLS handshake takes too long"),
    ):
        opened(server, tls="implicit", deadlines=SHORT)


@pytest.mark.parametrize("tls", ["implicit", "none"])
def test_a_silent_server_ends_with_the_deadline(
    opened: OpenMaildrop, certificates: Certificates, tls: str
) -> None:
    stalling = Faults(stall="AUTH")
    given = certificates if tls == "implicit" else None
    with (
        Pop3Server(faults=stalling, certificates=given, tls=tls) as server,  # type: ignore[arg-type]  # one of its kinds
        pytest.raises(DeadlineExceeded, match=r"m1 at .* idle for 0\.1 s"),
    ):
        opened(
            server,
            ca_file=str(certificates.ca_file) if given else "",
            deadlines=Deadlines(connect_seconds=5, idle_seconds=0.1),
        )


def test_a_lost_lease_ends_a_read(opened: OpenMaildrop) -> None:
    with Pop3Server(faults=Faults(stall="AUTH")) as server, pytest.raises(LeaseLost):
        opened(server, deadlines=LONG, stop=StopAt(12))


def test_a_status_line_that_comes_in_drops_is_idleness(opened: OpenMaildrop) -> None:
    """Octets that never become a reply must not keep a session alive."""
    trickling = Faults(greeting="+OK " + "x" * 2000, trickle="greeting")
    with Pop3Server(faults=trickling) as server, pytest.raises(DeadlineExceeded, match="idle"):
        opened(server, deadlines=SHORT)


def test_a_message_that_comes_in_drops_is_too_slow(opened: OpenMaildrop) -> None:
    slow = Faults(trickle="RETR")
    limits = Deadlines(idle_seconds=60, minimum_rate=10_000, window_seconds=0.2)
    with Pop3Server([("a", b"x" * 2000)], faults=slow) as server:
        retrieval = next(opened(server, deadlines=limits).retrieve([1]))
        with pytest.raises(DeadlineExceeded, match="octets per second"):
            list(retrieval)


def test_whatever_is_complete_ends_idleness(opened: OpenMaildrop) -> None:
    with Pop3Server([("a", b"x\r\n")]) as server:
        maildrop = opened(server)
        patience = maildrop._dialogue.wire.patience
        for _ in maildrop.retrieve([1]):
            patience.waited(LONG.idle_seconds - 1)
        maildrop.listing()
        assert patience._quiet == 0


def test_a_send_that_nobody_reads_ends_with_the_deadline() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = Wire(ours, PEER, patience())
        with pytest.raises(DeadlineExceeded):
            wire.send(b"x" * 10_000_000)


def test_a_reset_connection_is_a_failed_one(opened: OpenMaildrop) -> None:
    with Pop3Server() as server:
        maildrop = opened(server)
        maildrop._dialogue.wire._socket.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionFailed, match=r"m1 at .*: the connection broke: EPIPE"):
            maildrop.listing()


def test_closing_never_raises(opened: OpenMaildrop) -> None:
    with Pop3Server() as server:
        maildrop = opened(server)
        maildrop.drop()
        maildrop.drop()
        with pytest.raises(ConnectionFailed):
            maildrop.listing()
