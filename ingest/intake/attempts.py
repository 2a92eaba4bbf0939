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
        self._over: list[str] = []  # counts of what was committed without a unique-id

    def suspicion(self, wanted: Sequence[Listed]) -> policy.Suspicion:
        """Tell apart what may have taken a worker or a session down."""
        self._before = self._ledger.attempts(self._lease.mailbox, _named(wanted))
        return policy.suspicion(wanted, self._before)

    def lineup(self, suspects: Sequence[Listed]) -> list[Listed]:
        """Which of the suspects to try at once."""
        return policy.lineup(suspects, self._before)

    def count(self, messages: Sequence[Listed]) -> None:
        """Count one more attempt at each, durably, before it is retrieved."""
        names = _named(messages)
        if names:
            self._counts |= self._ledger.count_attempts(self._lease, names)
            self._open.update(names)

    def care(self, listed: Listed) -> policy.Care:
        """How to take it in, after so many attempts."""
        return policy.care(self._counts.get(policy.alias(listed), 0))

    def committed(self, listed: Listed) -> None:
        """Its count is gone with the commit; `finish` clears that of one without unique-id."""
        name = policy.alias(listed)
        self._open.discard(name)
        if listed.unique_id is None:
            self._over += [name] * self._counts.get(name, 0)

    def finish(self, refused: Iterable[Listed]) -> None:
        """The session comes to its end: take back what the server refused to send."""
        self._take_back([*_named(refused), *self._over])

    def take_back(self, messages: Iterable[Listed]) -> None:
        """These were not even started."""
        self._take_back(_named(messages))

    def end_by(self, error: BaseException, suspects: Sequence[Listed]) -> None:
        """The session failed: take back what is open, but for suspects, if the cause is known."""
        if isinstance(error, IngestError):
            with suppress(IngestError):  # Redis may be the very cause; the counts stay then
                self._take_back([*self._open.difference(_named(suspects)), *self._over])

    def _take_back(self, names: list[str]) -> None:
        if names:
            self._ledger.take_back(self._lease, names)
            self._open.difference_update(names)


def _named(messages: Iterable[Listed]) -> list[str]:
    return [policy.alias(listed) for listed in messages]
