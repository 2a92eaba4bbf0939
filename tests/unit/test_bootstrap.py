"""How the parts are put together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from ulid import ULID

from ingest import bootstrap
from ingest.bootstrap import open_application
from ingest.errors import StoreUnavailable
from ingest.intake.stop import Shutdown
from ingest.objects.budget import limit_group
from ingest.objects.log import StoreLog
from ingest.settings import Settings
from tests.fakes.mail_values import mailbox, record
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


class SlowStore(MemoryStore):
    """A store whose four mailboxes, and then four batches, can only be read together."""

    def __init__(self) -> None:
        super().__init__()
        self.together = threading.Barrier(4, timeout=30)

    def read(self, key: str, start: int = 0, octets: int | None = None) -> Iterator[bytes]:
        if key.startswith(("mailboxes/", "mail/")):
            self.together.wait()
        return super().read(key, start, octets)


def test_a_read_back_reads_several_mailboxes_and_batches_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, valkey: Valkey
) -> None:
    store = SlowStore()
    for name in "abcd":
        written = mailbox(name)
        store.put(f"mailboxes/{written.id}.json", msgspec.json.encode(written))
        batch = str(ULID())
        StoreLog(store).commit(batch, [(record(batch, unique_id=batch, batch=batch), b"")])
    monkeypatch.setattr(bootstrap, "open_store", lambda *_: store)
    with open_application(Settings(home=str(tmp_path), redis_url=valkey.url)) as application:
        assert application.read_back.run_if_lost() == (None, 4, 4, 4)
