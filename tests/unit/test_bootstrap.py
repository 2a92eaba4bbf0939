"""How the parts are put together."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.bootstrap import open_application
from ingest.errors import StoreUnavailable
from ingest.intake.stop import Shutdown
from ingest.settings import Settings
from tests.servers.ports import free_port


def test_whoever_waits_for_the_store_is_at_work_and_stops_at_a_shutdown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    settings = Settings(
        home=str(tmp_path),
        redis_url="redis://localhost",
        store="s3://mail",
        s3_endpoint=f"http://127.0.0.1:{free_port()}",
    )
    shutdown = Shutdown()
    beats = []

    def beat() -> None:
        beats.append(1)
        if len(beats) == 3:
            shutdown.begin(0)

    with (
        open_application(settings, shutdown, beat) as application,
        pytest.raises(StoreUnavailable),
    ):
        application.store.size("checkpoint.json")
    assert len(beats) >= 3
