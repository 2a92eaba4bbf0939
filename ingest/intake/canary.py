"""Canaries: mailboxes that get a probe every five minutes, timed until a sink has its event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
import structlog

from ingest.errors import (
    IngestError,
    MailboxUnreadable,
    RegistryError,
    SignInRefused,
    StateError,
)
from ingest.intake.ports import Mailboxes
from ingest.intake.probe import Recognition, Seal, compose, new_probe
from ingest.intake.relay import OutboxEvent
from ingest.model import Mailbox, Probe, Submission
from ingest.observability import metrics

log = structlog.get_logger()

EVERY_SECONDS: Final = 300
MISSING_SECONDS: Final = 900  # so long after it was sent a probe that is not home is missing

# So long nothing is sent where the SMTP server refused the password: servers count.
_REFUSED_SECONDS = 3600


class State(Protocol):
    """What workers share of the canaries: `ingest.state.canaries` says what each does.

    Every method raises StateError where Redis fails.
    """

    def now(self) -> float: ...
    def add(self, hosts: Mapping[str, str]) -> None: ...
    def drop(self, mailbox: str) -> None: ...
    def hosts(self) -> Mapping[str, str]: ...
    def idle(self, mailboxes: Iterable[str]) -> Sequence[str]: ...
    def take_turn(self, mailbox: str, seconds: int) -> bool: ...
    def postpone(self, mailbox: str, seconds: int) -> None: ...
    def hasten(self, mailbox: str) -> None: ...
    def expect(self, mailbox: str, probe: str, sent_at: float) -> None: ...
    def not_sent(self, mailbox: str, probe: str) -> None: ...
    def sent(self, mailbox: str, sent_at: float) -> None: ...
    def come_home(self, mailbox: str, probe: str, now: float) -> str: ...
    def overdue(self, since: float) -> Sequence[str]: ...
    def times(self) -> tuple[Mapping[str, float], Mapping[str, float]]: ...


class _Data(msgspec.Struct):
    mailbox: str
    probe: Probe


class _Event(msgspec.Struct):
    """What we read of a probe's event."""

    data: _Data


class Canaries:
    """Sends probes, waits for them, and measures. Raises StateError.

    Args:
        mailboxes: the registry.
        state: what workers share.
        seal: signs the probes.
        submit: hands a message to a mailbox's SMTP server.
    """

    def __init__(
        self,
        mailboxes: Mailboxes,
        state: State,
        seal: Seal,
        submit: Callable[[Mailbox, Submission, bytes], None],
    ) -> None:
        self._mailboxes = mailboxes
        self._state = state
        self._seal = seal
        self._submit = submit

    def add(self, mailboxes: Iterable[Mailbox]) -> None:
        """Look after those of them that are canaries."""
        self._state.add({each.id: each.host for each in mailboxes if each.canary})

    def begin(self, mailbox: Mailbox) -> None:
        """Look after it from now on, and send it a probe at once."""
        self.add([mailbox])
        self._state.hasten(mailbox.id)

    def drop(self, mailbox: str) -> None:
        """Look after it no more."""
        self._state.drop(mailbox)

    def recognition(self, mailbox: Mailbox) -> Recognition | None:
        """What tells the mailbox's probes from its other mail; None: it is no canary."""
        return Recognition(mailbox.id, self._seal) if mailbox.canary else None

    def due(self) -> Sequence[str]:
        """The ids of those whose turn it is."""
        return self._state.idle(self._state.hosts())

    def take_turn(self, mailbox_id: str) -> None:
        """Send its probe, if it is its turn and nobody else does. What fails is logged and counted.

        One whose mailbox is paused is sent nothing, and is missed.
        """
        if not self._state.take_turn(mailbox_id, EVERY_SECONDS):
            return
        try:
            mailbox = self._mailboxes.get(mailbox_id)
        except MailboxUnreadable as error:  # another worker may be newer
            log.warning("canary_not_sent", mailbox=mailbox_id, code=error.code, reason=str(error))
            return
        except RegistryError:
            self._state.drop(mailbox_id)
            return
        if not mailbox.canary:
            self._state.drop(mailbox_id)
        elif not mailbox.paused:
            try:
                self.send(mailbox)
            except StateError:
                raise
            except IngestError as error:
                if isinstance(error, SignInRefused):
                    self._state.postpone(mailbox.id, _REFUSED_SECONDS)
                log.warning(
                    "canary_not_sent", mailbox=mailbox.id, code=error.code, reason=str(error)
                )

    def send(self, mailbox: Mailbox) -> None:
        """Send a probe now.

        Its mailbox is not polled any sooner: how long mail waits there is part of its way.

        Raises:
            SessionError: the SMTP server could not be reached, or refused it.
            RegistryError: the password can't be read.
            SettingsError: there is no key to sign it with.
        """
        assert mailbox.canary  # noqa: S101 - the caller has looked
        now = self._state.now()
        probe = new_probe(now)
        try:
            message = compose(probe, mailbox.id, mailbox.canary, self._seal)
            self._state.expect(mailbox.id, probe.id, now)
            self._submit(mailbox, mailbox.canary, message)
        except Exception:
            self._state.not_sent(mailbox.id, probe.id)
            metrics.count_probe(mailbox.host, "failed")
            raise
        self._state.sent(mailbox.id, now)
        metrics.count_probe(mailbox.host, "sent")
        log.info("canary_sent", mailbox=mailbox.id, probe=probe.id)

    def arrived(self, event: OutboxEvent) -> None:
        """A sink has the event of a probe: it is home."""
        data = msgspec.json.decode(event.json, type=_Event).data
        now = self._state.now()
        outcome = self._state.come_home(data.mailbox, data.probe.id, now)
        seconds = max(0.0, now - data.probe.sent_at.timestamp())
        host = self._state.hosts().get(data.mailbox, "")
        log.info(
            "canary_home",
            mailbox=data.mailbox,
            probe=data.probe.id,
            outcome=outcome,
            seconds=round(seconds, 3),
        )
        if host:
            metrics.count_probe(host, outcome)
            if outcome != "stray":
                metrics.canary_seconds.labels(metrics.provider(host)).observe(seconds)

    def look(self) -> None:
        """Count the probes that are missing, and say when the others were sent and came home.

        Of several canaries of one provider, the one that lags behind counts.
        """
        hosts = {mailbox: metrics.provider(host) for mailbox, host in self._state.hosts().items()}
        overdue = self._state.overdue(self._state.now() - MISSING_SECONDS) if hosts else ()
        for mailbox in overdue:
            if host := hosts.get(mailbox):
                log.warning("canary_missing", mailbox=mailbox, host=host)
                metrics.count_probe(host, "missing")
        sent, home = (_oldest(hosts, times) for times in self._state.times())
        metrics.show_canaries(set(hosts.values()), sent, home)


def _oldest(hosts: Mapping[str, str], times: Mapping[str, float]) -> Mapping[str, float]:
    """The earliest time by host."""
    oldest: dict[str, float] = {}
    for mailbox, when in times.items():
        if host := hosts.get(mailbox):
            oldest[host] = min(when, oldest.get(host, when))
    return oldest
