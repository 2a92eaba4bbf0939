"""The tasks, in a worker on a real Valkey and a directory store."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from ingest.errors import StoreChanged
from ingest.settings import Settings
from ingest.tasks import tasks
from ingest.tasks import worker as worker_module
from ingest.tasks.app import HINT_SECONDS, POLL
from ingest.tasks.worker import Worker
from tests.fakes.mail_values import mailbox


class Sent:
    """What would have been sent to a broker: the tasks' names, arguments and options."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hints: list[tuple[str, tuple[object, ...], dict[str, Any]]] = []
        for task in (tasks.poll, tasks.relay, tasks.read_back):
            monkeypatch.setattr(task, "apply_async", partial(self._note, task.name))

    def _note(self, name: str, arguments: tuple[object, ...] = (), **options: object) -> None:
        self.hints.append((name, arguments, options))


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    return Sent(monkeypatch)


def test_a_worker_that_can_not_begin_ends_whatever_it_failed_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_: Settings) -> Worker:
        raise ZeroDivisionError

    monkeypatch.setattr(worker_module, "Worker", broken)
    monkeypatch.setattr(worker_module, "configure", lambda *_: None)
    with capture_logs() as logs, pytest.raises(SystemExit) as ended:
        worker_module._begin()
    assert ended.value.code == 1
    assert [entry["event"] for entry in logs] == ["worker_broke"]


def test_a_tick_hints_at_each_group_as_often_as_it_has_mailboxes_due(
    worker: Worker, sent: Sent
) -> None:
    for name in "ab":
        worker.application.schedule.schedule(mailbox(name), -1)
    tasks.tick()
    group = mailbox().group
    assert [hint[:2] for hint in sent.hints] == [("poll", (group,)), ("poll", (group,))]
    assert all(options["expires"] >= HINT_SECONDS for *_, options in sent.hints)


def test_hints_do_not_pile_up_while_every_worker_is_busy(worker: Worker, sent: Sent) -> None:
    worker.application.schedule.schedule(mailbox("a"), -1)
    worker.application.redis.rpush(POLL, *(["hint"] * 1000))
    tasks.tick()
    assert not sent.hints
    worker.application.redis.lpop(POLL)
    tasks.tick()
    assert len(sent.hints) == 1


def test_a_session_shows_that_the_worker_is_alive_though_no_task_begins(worker: Worker) -> None:
    lease = worker.application.schedule.claim_mailbox(mailbox(), 60)
    assert lease
    with worker.application._hold(lease) as stop:
        worker.heartbeat._last -= 1000
        assert worker.heartbeat.complaint()
        stop.check()
        assert not worker.heartbeat.complaint()


def test_nothing_is_claimed_any_more_once_the_store_was_emptied(
    worker: Worker, tmp_path: Path
) -> None:
    worker.application.schedule.schedule(mailbox(), -1)
    tasks.read_back()
    shutil.rmtree(tmp_path / "store")
    assert_refuses(worker)


def test_nothing_is_claimed_any_more_once_the_store_was_set_back_to_an_older_copy(
    worker: Worker, tmp_path: Path
) -> None:
    worker.application.schedule.schedule(mailbox(), -1)
    tasks.read_back()
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    for _ in range(2):
        tasks.read_back()
    shutil.rmtree(tmp_path / "store")
    shutil.move(tmp_path / "copy", tmp_path / "store")
    assert_refuses(worker)


def assert_refuses(worker: Worker) -> None:
    """However often it is asked."""
    assert worker.application.schedule.groups_due()
    for _ in range(2):
        with pytest.raises(StoreChanged):
            tasks.read_back()
        assert not worker.application.schedule.groups_due()
