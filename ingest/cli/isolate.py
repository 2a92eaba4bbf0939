"""`ingest isolate`: one session with a mailbox's suspects, for `ingest.isolation` alone."""

from __future__ import annotations

import resource
import signal
import sys

import msgspec

from ingest.errors import IngestError
from ingest.intake.stop import Shutdown
from ingest.settings import from_environment


def isolate() -> None:
    """Read a question from standard input, hold the session, write what came of it."""
    from ingest.bootstrap import open_application
    from ingest.isolation import MEMORY_OCTETS, Outcome, Question
    from ingest.observability.logging import configure

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or hard > MEMORY_OCTETS:  # else, it has less already
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_OCTETS, hard))
    settings, shutdown = from_environment(), Shutdown()
    signal.signal(signal.SIGTERM, lambda *_: shutdown.begin(0))
    configure(settings.log_format, settings.log_level, settings.log_sample)
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    with open_application(settings, shutdown) as application:
        try:
            outcome = Outcome(report=application.run_suspects(question.lease, question.traceparent))
        except IngestError as error:
            outcome = Outcome(code=error.code, message=str(error), remedy=error.remedy)
    sys.stdout.buffer.write(msgspec.json.encode(outcome))
