"""Commands in this process, on a real Valkey and a directory store."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog
from ulid import ULID

from ingest.bootstrap import Application, open_application
from ingest.cli import app
from ingest.intake.batch import Batch, BatchLimits, Member
from ingest.intake.message import Draft, Thresholds
from ingest.model import Listed, Record
from ingest.objects.log import StoreLog
from ingest.settings import from_environment
from tests.fakes.mail_values import mailbox
from tests.servers.valkey import Valkey


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> list[Any]:
        """What each line says."""
        return [json.loads(line) for line in self.out.splitlines()]


Ingest = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("INGEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("INGEST_HOME", str(tmp_path))
    monkeypatch.setenv("INGEST_REDIS_URL", valkey.url)
    return tmp_path


@pytest.fixture
def application(home: Path) -> Iterator[Application]:
    """The parts that commands find, whole."""
    del home
    with open_application(from_environment()) as application:
        application.read_back.run_if_lost()
        yield application


@pytest.fixture
def ingest(home: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Iterator[Ingest]:
    """Runs `ingest`."""
    del home
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def run(*words: str) -> Result:
        code = app.run(list(words))
        captured = capsysbinary.readouterr()
        return Result(code, captured.out.decode(), captured.err.decode())

    yield run
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def ingest_messages(
    application: Application,
    messages: Sequence[bytes],
    *,
    name: str = "a",
    deleted: bool = True,
    age: timedelta = timedelta(),
) -> list[Record]:
    """Take messages in as a session does, by one batch; their unique-ids are their numbers."""
    now = application.store.now() - age
    lease = application.schedule.claim_mailbox(mailbox(name), 60)
    assert lease
    batch = Batch(StoreLog(application.store), BatchLimits(1000, 10**9, 10**6))
    batch.id = str(ULID.from_datetime(now))
    for number, octets in enumerate(messages, 1):
        listed = Listed(number, len(octets), f"{name}-{number}")
        with Draft(batch, Thresholds(1_000, 10**6)) as draft:
            draft.feed(memoryview(octets))
            draft.end()
            record, skeleton = draft.commit(
                identity=draft.record_id(lease.mailbox, rehearsal=False),
                mailbox_id=lease.mailbox,
                tenant="default",
                listed=listed,
                retrieved_at=now,
                deployment="test",
                objects=application.log,
            )
        batch.join(Member(listed, record, skeleton, delete=True, memorable=True))
    batch.write()
    commitments = batch.commitments()
    application.ledger.commit(lease, commitments)
    if deleted:
        application.ledger.settle(lease, [str(one.unique_id) for one in commitments])
    application.schedule.release(lease, 60)
    return [one.record for one in commitments]
