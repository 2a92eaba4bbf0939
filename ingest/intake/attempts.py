"""How often a message was tried: counted before it is retrieved, taken back by a known cause."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from ingest.errors import IngestError
from ingest.intake import policy
from ingest.intake.ports import Ledger
from ingest.model import Lease, Listed


class Attempts:
    """The attempts of one session.

    A message that takes the process down leaves its count behind, and so does one whose octets the
    server began to send when the session broke. All others have it taken back by a failure with a
    known cause (network, store, deadline, shutdown), so an outage convicts no message.
    """

    def __init__(self, ledger: Ledger, lease: Lease) -> None:
        self._ledger = ledger
        self._lease = lease
        self._before: Mapping[str, int] = {}
        self._counts: dict[str, int] = {}
        self._open: set[str] = set()  # counted, and not committed yet

    def suspicion(self, wanted: Sequence[Listed]) -> policy.Suspicion:
        """Tell apart what may have taken a worker or a session down."""
        self._before = self._ledger.attempts(self._lease.mailbox, _named(wanted))
        return policy.suspicion(wanted, self._before)

    def lineup(self, suspects: Sequence[Listed]) -> list[Listed]:
        """Which of the suspects to try at once."""
        return policy.lineup(suspects, self._before)

    def count(self, messages: Sequence[Listed]) -> None:
        """Count one more attempt at each, durably, before it is retrieved."""
        unique_ids = _named(messages)
        if unique_ids:
            self._counts |= self._ledger.count_attempts(self._lease, unique_ids)
            self._open.update(unique_ids)

    def care(self, listed: Listed) -> policy.Care:
        """How to take it in, after so many attempts."""
        return policy.care(self._counts.get(listed.unique_id or "", 0))

    def committed(self, listed: Listed) -> None:
        """Its count is gone with the commit."""
        self._open.discard(listed.unique_id or "")

    def take_back(self, messages: Iterable[Listed]) -> None:
        """These were not even started, or the server refused to send them."""
        self._take_back(_named(messages))

    def end_by(self, error: BaseException, suspects: Sequence[Listed]) -> None:
        """The session failed: take back what is open, but for suspects, if the cause is known."""
        if isinstance(error, IngestError):
            with suppress(IngestError):  # Redis may be the very cause; the counts stay then
                self._take_back(list(self._open.difference(_named(suspects))))

    def _take_back(self, unique_ids: list[str]) -> None:
        if unique_ids:
            self._ledger.take_back(self._lease, unique_ids)
            self._open.difference_update(unique_ids)


def _named(messages: Iterable[Listed]) -> list[str]:
    return [listed.unique_id for listed in messages if listed.unique_id]
