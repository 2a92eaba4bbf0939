"""What one would write with the standard library: `poplib_loop.py HOST PORT USER PASSWORD DIR`.

Retrieve each message, write and hash every attachment, delete the message. With `--durable` behind
DIR, do before the delete what would keep the mail: write the message too, and sync each file.
"""

from __future__ import annotations

import email
import hashlib
import os
import poplib
import sys
from pathlib import Path


def main(host: str, port: int, user: str, password: str, directory: Path, *, durable: bool) -> None:
    """Empty one maildrop."""
    session = poplib.POP3(host, port)
    session.user(user)
    session.pass_(password)
    messages, _ = session.stat()
    for number in range(1, messages + 1):
        _, lines, _ = session.retr(number)
        octets = b"\r\n".join(lines) + b"\r\n"
        message = email.message_from_bytes(octets)
        if durable:
            _write(directory, octets, durable=True)
        for part in message.walk():
            if part.get_filename() is None:
                continue
            content = part.get_payload(decode=True)
            if isinstance(content, bytes):
                _write(directory, content, durable=durable)
        session.dele(number)
    session.quit()


def _write(directory: Path, octets: bytes, *, durable: bool) -> None:
    with (directory / hashlib.sha256(octets).hexdigest()).open("wb") as file:
        file.write(octets)
        if durable:
            file.flush()
            os.fsync(file.fileno())


if __name__ == "__main__":
    main(
        sys.argv[1],
        int(sys.argv[2]),
        sys.argv[3],
        sys.argv[4],
        Path(sys.argv[5]),
        durable="--durable" in sys.argv[6:],
    )
