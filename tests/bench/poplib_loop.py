"""What one would write with the standard library: `poplib_loop.py HOST PORT USER PASSWORD DIR`.

Retrieve each message, write and hash every attachment, delete the message.
"""

from __future__ import annotations

import email
import hashlib
import poplib
import sys
from pathlib import Path


def main(host: str, port: int, user: str, password: str, directory: Path) -> None:
    """Empty one maildrop."""
    session = poplib.POP3(host, port)
    session.user(user)
    session.pass_(password)
    messages, _ = session.stat()
    for number in range(1, messages + 1):
        _, lines, _ = session.retr(number)
        message = email.message_from_bytes(b"\r\n".join(lines) + b"\r\n")
        for part in message.walk():
            if part.get_filename() is None:
                continue
            content = part.get_payload(decode=True)
            if isinstance(content, bytes):
                (directory / hashlib.sha256(content).hexdigest()).write_bytes(content)
        session.dele(number)
    session.quit()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], Path(sys.argv[5]))
