"""Commands in this process, on a real Valkey and a directory store."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog

from ingest.bootstrap import Application, open_application
from ingest.cli import app
from ingest.settings import from_environment
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
