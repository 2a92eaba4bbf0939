"""What a session did, and who wants to see it."""

from __future__ import annotations

from typing import Protocol

import msgspec

from ingest.model import Record


class SessionReport(msgspec.Struct, kw_only=True):
    """What one session did."""

    mailbox: str
    listed: int = 0
    listed_octets: int = 0
    retrieved: int = 0  # whole
    octets: int = 0
    committed: int = 0
    parts: int = 0  # objects beside the skeletons
    defects: int = 0
    events: int = 0  # new ones; a message seen before publishes nothing again
    deleted: int = 0
    kept: int = 0  # stored, and left on the server as the delete rule says
    refused: int = 0  # RETR or DELE answered -ERR
    skipped: int = 0  # not retrieved: it broke sessions or workers too often; stays on the server
    ignored_deletes: int = 0  # deleted before by +OK, and still there
    withheld: int = 0  # stored with fewer octets than announced, not deleted
    left: int = 0  # not started for the session's limits: poll again soon
    login_delay: int = 0  # seconds that the server wants between two sessions
    seconds: float = 0.0


class Watch(Protocol):
    """Who wants to see a session's progress."""

    def listed(self, messages: int, octets: int) -> None:
        """So much is going to be retrieved."""

    def received(self, octets: int) -> None:
        """So many more octets came in."""

    def committed(self, records: list[Record]) -> None:
        """These are durable."""
