"""Sessions in a process of their own, for messages that may have taken a worker down.

The parent keeps the lease and waits; the child holds one session with suspects only and says on
its standard output what came of it. A message that kills the child has killed nobody else.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import structlog

from ingest.errors import IngestError, SessionStopped, SuspectFatal
from ingest.intake.ports import Stop
from ingest.intake.report import SessionReport, note_isolated
from ingest.model import Lease, Mailbox
from ingest.observability import tracing

log = structlog.get_logger()

COMMAND: Final = (sys.executable, "-m", "ingest.cli", "isolate")
MEMORY_OCTETS: Final = 512 * 1024 * 1024  # of a child's; more than any message needs
MOST_CHILDREN: Final = 2  # at a time: a worker that died may have left suspects in every mailbox
_LOOK_SECONDS = 1.0
_END_SECONDS = 10.0


class Question(msgspec.Struct):
    """What the child is told: whose suspects to try, and below which span."""

    lease: Lease
    traceparent: str = ""


class Outcome(msgspec.Struct):
    """What the child says: a report, or why there is none."""

    report: SessionReport | None = None
    code: str = ""
    message: str = ""
    remedy: str = ""


class Isolation:
    """Sessions in processes of their own, so many at a time.

    Args:
        most: how many processes; each may take `MEMORY_OCTETS` besides what this one takes.
    """

    def __init__(self, most: int = MOST_CHILDREN) -> None:
        self._room = threading.BoundedSemaphore(most)

    def run(self, mailbox: Mailbox, lease: Lease, stop: Stop) -> SessionReport:
        """Hold sessions with a mailbox's suspects, each in a new process, until none is left.

        Raises:
            SuspectFatal: the process died.
            SessionStopped: there are as many of them as may be; who waited would hold up others.
            IngestError: the session failed, as in this process.
        """
        if not self._room.acquire(blocking=False):
            raise SessionStopped(
                f"mailbox {mailbox.id}: as many messages are tried apart as there is room for",
                remedy="nothing to do: it is due again soon",
            )
        try:
            while True:
                report = _run_once(mailbox, lease, stop)
                note_isolated(report)
                if not report.suspects or report.login_delay or stop.closing:
                    return report
        finally:
            self._room.release()


def _run_once(mailbox: Mailbox, lease: Lease, stop: Stop) -> SessionReport:
    question = msgspec.json.encode(Question(lease, tracing.traceparent()))
    with _child() as child:
        answer = _ask(child, question, stop)
    try:
        outcome = msgspec.json.decode(answer, type=Outcome)
    except msgspec.DecodeError:
        raise SuspectFatal(
            f"mailbox {mailbox.id}: a process that tried messages apart ended with "
            f"{child.returncode}",
            remedy="nothing to do: they are tried one by one, then stored unparsed, then skipped",
        ) from None
    if outcome.report is None:
        raise _error(outcome)
    return outcome.report


def _ask(child: subprocess.Popen[bytes], question: bytes | None, stop: Stop) -> bytes:
    """What the child says before it ends."""
    while True:
        try:
            return child.communicate(question, timeout=_LOOK_SECONDS)[0]
        except subprocess.TimeoutExpired:
            question = None  # it has it
            stop.check()


@contextmanager
def _child() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(  # noqa: S603 - our own command
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        yield child
    except BaseException:
        child.terminate()
        try:
            child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            log.warning("isolated_process_killed", pid=child.pid)
            child.kill()
        raise
    finally:
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def _error(outcome: Outcome) -> IngestError:
    """The error that ended the child's session, of the same class."""
    kinds = [IngestError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        if kind.code == outcome.code:
            return kind(outcome.message, remedy=outcome.remedy)
    return IngestError(outcome.message, remedy=outcome.remedy)
