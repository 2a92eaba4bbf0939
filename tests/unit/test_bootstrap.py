"""How the parts are put together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from ingest import bootstrap
from ingest.bootstrap import open_application
from ingest.errors import StoreUnavailable
from ingest.intake.stop import Shutdown
from ingest.model import Record
from ingest.objects.budget import limit_group
from ingest.objects.log import StoreLog
from ingest.settings import Settings
from tests.fakes.mail_values import mailbox
from tests.fakes.memory_store import MemoryStore
from tests.servers.ports import free_port
from tests.servers.valkey import Valkey


def test_a_session_counts_its_upload_buffers_against_its_group(
    tmp_path: Path, valkey: Valkey
) -> None:
    settings = Settings(home=str(tmp_path), redis_url=valkey.url)
    with open_application(settings) as application:
        application.prepare()
        lease = application.schedule.claim_mailbox(mailbox(), 60)
        assert lease
        with application._hold(lease):
            assert limit_group.get() == mailbox().group
        assert limit_group.get() == ""


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


class SlowLog(StoreLog):
    """A log whose four batches can only be read together."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.together = threading.Barrier(4, timeout=30)

    def committed(self, since: datetime | None = None) -> Iterator[str]:
        return iter("ABCD")

    def records(self, batch: str) -> list[Record]:
        self.together.wait()
        return []


def test_a_read_back_reads_several_batches_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, valkey: Valkey
) -> None:
    monkeypatch.setattr(bootstrap, "StoreLog", lambda _: SlowLog())
    settings = Settings(home=str(tmp_path), redis_url=valkey.url)
    with open_application(settings) as application:
        done = application.read_back.run_if_lost()
    assert done
    assert done.batches == len("ABCD")
