"""The tasks, in a worker on a real Valkey and a directory store."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.errors import StoreChanged
from ingest.settings import Settings
from ingest.tasks import tasks
from ingest.tasks import worker as worker_module
from ingest.tasks.worker import Worker
from tests.fakes.mail_values import mailbox
from tests.servers.valkey import Valkey


@pytest.fixture
def worker(valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    settings = Settings(home=str(tmp_path), redis_url=valkey.url, metrics_port=0)
    with contextlib.closing(Worker(settings)) as worker:
        worker.application.prepare()
        monkeypatch.setattr(worker_module, "_worker", worker)
        yield worker


def test_nothing_is_claimed_any_more_once_the_store_was_emptied(
    worker: Worker, tmp_path: Path
) -> None:
    worker.application.schedule.schedule(mailbox(), -1)
    tasks.read_back()
    shutil.rmtree(tmp_path / "store")
    assert worker.application.schedule.groups_due()
    with pytest.raises(StoreChanged):
        tasks.read_back()
    assert not worker.application.schedule.groups_due()
    with pytest.raises(StoreChanged):
        tasks.read_back()
