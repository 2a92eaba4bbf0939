"""A worker on a real Valkey and a directory store, as tasks find it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from ingest.settings import Settings
from ingest.tasks import worker as worker_module
from ingest.tasks.app import configuration
from ingest.tasks.worker import Worker
from tests.servers.valkey import Valkey


@pytest.fixture
def worker(valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    settings = Settings(home=str(tmp_path), redis_url=valkey.url, metrics_port=0, poll_seconds=1)
    with contextlib.closing(Worker(settings)) as worker:
        worker.application.prepare()
        monkeypatch.setattr(worker_module, "_worker", worker)
        yield worker


@pytest.fixture
def app(valkey: Valkey, tmp_path: Path) -> Iterator[Celery]:
    app = Celery("another")
    app.config_from_object(
        configuration(Settings(home=str(tmp_path), redis_url=valkey.url, metrics_port=0))
    )
    with contextlib.closing(app):
        yield app
