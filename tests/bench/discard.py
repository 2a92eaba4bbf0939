"""What no client can be faster than: `discard.py HOST PORT USER PASSWORD`.

Retrieve all messages pipelined, look for nothing but their ends, keep nothing, delete all.
"""

from __future__ import annotations

import socket
import sys

WINDOW = 64
BUFFER_OCTETS = 256 * 1024
TERMINATOR = b"\r\n.\r\n"


def main(host: str, port: int, user: str, password: str) -> None:
    """Empty one maildrop."""
    with socket.create_connection((host, port)) as server:
        _answer(server)
        _answer(server, f"USER {user}")
        _answer(server, f"PASS {password}")
        messages = int(_answer(server, "STAT").split()[1])
        _retrieve(server, messages)
        for first in range(1, messages + 1, WINDOW):
            numbers = range(first, min(first + WINDOW, messages + 1))
            server.sendall(b"".join(b"DELE %d\r\n" % number for number in numbers))
            unanswered = len(numbers)
            while unanswered:
                unanswered -= _received(server).count(b"\n")
        _answer(server, "QUIT")


def _retrieve(server: socket.socket, messages: int) -> None:
    asked = ended = 0
    end = b""  # of what came, which may be the first octets of a terminator
    while ended < messages:
        if asked - ended <= WINDOW // 2:
            numbers = range(asked + 1, min(ended + WINDOW, messages) + 1)
            server.sendall(b"".join(b"RETR %d\r\n" % number for number in numbers))
            asked += len(numbers)
        octets = end + _received(server)
        ended += octets.count(TERMINATOR)
        # Less than a terminator, so that none is counted twice.
        end = octets[-len(TERMINATOR) + 1 :]


def _answer(server: socket.socket, command: str = "") -> bytes:
    if command:
        server.sendall(f"{command}\r\n".encode())
    answer = b""
    while not answer.endswith(b"\n"):
        answer += _received(server)
    if not answer.startswith(b"+OK"):
        sys.exit(f"the server answered {answer!r}")
    return answer


def _received(server: socket.socket) -> bytes:
    return server.recv(BUFFER_OCTETS) or sys.exit("the server closed the connection")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
