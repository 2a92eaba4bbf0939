"""Free loopback ports for the servers that tests start."""

from __future__ import annotations

import contextlib
import socket

HOST = "127.0.0.1"


def free_ports(count: int, companion: int = 0) -> list[int]:
    """Different TCP ports of the loopback address that nobody listens on at this moment.

    `companion`: the port so much higher must be free as well (a server that takes two at once).
    """
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < count:
            try:
                port = held.enter_context(socket.create_server((HOST, 0))).getsockname()[1]
                if companion:
                    held.enter_context(socket.create_server((HOST, port + companion)))
            except (OSError, OverflowError):
                continue  # the companion is taken or beyond 65535: try another
            ports.append(port)
    return ports


def free_port() -> int:
    """One such port."""
    return free_ports(1)[0]
