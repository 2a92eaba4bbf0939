"""The proxy that the fault tests believe in."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.servers.ports import HOST
from tests.servers.proxy import tcp_proxy


@contextlib.contextmanager
def sender(octets: bytes) -> Iterator[int]:
    """A server that sends those octets to whoever connects and reads until the client ends."""
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.sendall(octets)
                        while connection.recv(65536):
                            pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def received(port: int) -> bytes:
    """All that arrives until the other side ends; we end ours at once."""
    with socket.create_connection((HOST, port), timeout=20) as connection:
        connection.shutdown(socket.SHUT_WR)
        octets = b""
        with contextlib.suppress(ConnectionResetError):
            while block := connection.recv(65536):
                octets += block
        return octets


@pytest.mark.parametrize("round_trip", [0.0, 0.01])
def test_every_octet_passes_and_is_counted(round_trip: float) -> None:
    octets = bytes(range(256)) * 4096
    with sender(octets) as port, tcp_proxy(HOST, port, round_trip=round_trip) as proxy:
        assert received(proxy.port) == octets
        assert received(proxy.port) == octets
        assert proxy.octets_down == 2 * len(octets)
        assert proxy.connections == 2


@pytest.mark.parametrize("limit", [0, 1, 70_000])
def test_a_cut_comes_exactly_after_so_many_octets_from_the_server(limit: int) -> None:
    octets = bytes(range(256)) * 4096
    with sender(octets) as port, tcp_proxy(HOST, port) as proxy:
        proxy.cut_down = limit
        assert received(proxy.port) == octets[:limit]


def test_a_cut_comes_exactly_after_so_many_octets_from_the_client() -> None:
    with sender(b"hello") as port, tcp_proxy(HOST, port) as proxy:
        proxy.cut_up = 7
        with socket.create_connection((HOST, proxy.port), timeout=20) as connection:
            assert connection.recv(5) == b"hello"
            connection.sendall(b"1234567890")
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        assert proxy.octets_up == 7


def test_a_stalled_connection_stays_open_and_silent() -> None:
    with sender(b"hello") as port, tcp_proxy(HOST, port) as proxy:
        proxy.stall_down = 3
        with socket.create_connection((HOST, proxy.port), timeout=0.2) as connection:
            assert connection.recv(5, socket.MSG_WAITALL) == b"hel"
            with pytest.raises(TimeoutError):
                connection.recv(1)


def test_a_server_that_is_not_there_ends_the_connection() -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
    with tcp_proxy(HOST, port) as proxy:
        assert received(proxy.port) == b""


def test_one_octet_is_changed_on_its_way_from_the_server() -> None:
    octets = bytes(200_000)
    with sender(octets) as port, tcp_proxy(HOST, port) as proxy:
        proxy.flip_down = 70_001
        assert received(proxy.port) == octets[:70_000] + b"\1" + octets[70_001:]
        assert received(proxy.port) == octets


def test_a_dead_connection_leads_nowhere_and_does_not_end_and_a_new_one_works() -> None:
    with (
        socket.create_server((HOST, 0)) as server,
        tcp_proxy(HOST, server.getsockname()[1]) as proxy,
    ):
        proxy.dead = 1
        address = (HOST, proxy.port)
        with socket.create_connection(address) as client, server.accept()[0] as other:
            for one, another in ((client, other), (other, client)):
                one.sendall(b"to nobody")
                another.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    another.recv(1)
            client.close()
            with pytest.raises(TimeoutError):
                other.recv(1)
        with socket.create_connection(address) as client, server.accept()[0] as other:
            other.sendall(b"hello")
            assert client.recv(5, socket.MSG_WAITALL) == b"hello"
