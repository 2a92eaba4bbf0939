"""Canaries as tasks look after them: on a real Valkey, with a real SMTP server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from ingest.errors import SessionError
from ingest.intake.probe import FIELD
from ingest.model import Mailbox, Submission
from ingest.state.canaries import CanaryState
from ingest.tasks import tasks
from ingest.tasks.app import HINT_SECONDS, POLL
from ingest.tasks.clock import MOST_HINTS
from ingest.tasks.worker import Worker
from ingest.transport import submission as submission_module
from tests.fakes.mail_values import mailbox
from tests.servers.certificates import make_certificates
from tests.servers.smtp import PASSWORD, USERNAME, SmtpServer, smtp_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SmtpServer]:
    with smtp_server(make_certificates(tmp_path)) as running:
        yield running


@pytest.fixture
def canary(worker: Worker, server: SmtpServer, tmp_path: Path) -> Mailbox:
    submission = Submission(
        host="localhost",
        port=server.port,
        username=USERNAME,
        password=worker.application.keyring.seal(PASSWORD, "mb-a"),
        ca_file=str(tmp_path / "ca.pem"),
        sender=USERNAME,
        recipient="canary@example.org",
    )
    made = msgspec.structs.replace(mailbox("a"), canary=submission)
    return worker.application.registry.add(made)


@pytest.fixture
def hints(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[str, ...], float]]:
    noted: list[tuple[tuple[str, ...], float]] = []

    def note(arguments: tuple[str, ...], expires: float) -> None:
        noted.append((arguments, expires))

    monkeypatch.setattr(tasks.canary, "apply_async", note)
    return noted


def test_a_canary_that_redis_forgot_is_looked_after_again_and_gets_its_probe(
    canary: Mailbox, server: SmtpServer, hints: list[tuple[tuple[str, ...], float]]
) -> None:
    tasks.canaries()
    assert not hints
    tasks.read_back()
    tasks.canaries()
    assert hints == [((canary.id,), HINT_SECONDS)]
    for _ in range(2):  # a hint may be doubled
        tasks.canary(canary.id)
    [message] = server.messages
    assert FIELD.encode() in message
    hints.clear()
    tasks.canaries()
    assert not hints


def test_a_slow_smtp_server_holds_up_few_threads_and_the_others_turns_come_again(
    canary: Mailbox, worker: Worker, server: SmtpServer
) -> None:
    application = worker.application
    names = [f"mb-{number}" for number in range(6)]
    assert canary.canary
    anybody = msgspec.structs.replace(canary.canary, username="")
    for name in names:
        fields = {"id": name, "name": name, "username": name, "canary": anybody}
        application.registry.add(msgspec.structs.replace(canary, **fields))
    application.canaries.add(application.registry.list())
    server.stall.set()
    with ThreadPoolExecutor(len(names)) as threads:
        sending = [threads.submit(tasks.canary, name) for name in names]
        done, busy = wait(sending, 1)
        assert (len(done), len(busy)) == (2, 4)
        assert len(application.canaries.due()) == 3  # with `a`
        server.stall.clear()
    for task in sending:
        task.result()
    tasks.canary(canary.id)
    assert len(application.canaries.due()) == 2


def test_a_slow_smtp_server_holds_up_no_worker_whose_grace_period_is_over(
    canary: Mailbox, worker: Worker, server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission_module, "SECONDS", 10.0)
    server.stall.set()
    worker.application.shutdown.begin(0.2)
    begun = time.monotonic()
    with capture_logs() as logs:
        tasks.canary(canary.id)
    assert time.monotonic() - begun < 5
    assert [(line["event"], line.get("code")) for line in logs] == [("canary_not_sent", "stopped")]


def test_a_worker_whose_threads_all_send_probes_is_at_work(canary: Mailbox, worker: Worker) -> None:
    worker.heartbeat._last -= 1000
    tasks.canary(canary.id)
    assert not worker.heartbeat.complaint()


def test_hints_do_not_pile_up_where_nobody_takes_them(
    canary: Mailbox, worker: Worker, hints: list[tuple[tuple[str, ...], float]]
) -> None:
    worker.application.canaries.add([canary])
    worker.application.redis.rpush(POLL, *(["hint"] * MOST_HINTS))
    tasks.canaries()
    assert not hints
    worker.application.redis.lpop(POLL)
    tasks.canaries()
    assert hints


def test_a_paused_canary_is_looked_after_again_too(canary: Mailbox, worker: Worker) -> None:
    registry = worker.application.registry
    registry.update(msgspec.structs.replace(canary, paused="refused"), seen=canary)
    tasks.read_back()
    assert CanaryState(worker.application.redis).hosts() == {canary.id: canary.host}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ca_file": ""}, "tls"),
        ({"port": 1}, "connection"),
        ({"password": "env:NOT_SET_ANYWHERE"}, "registry"),
        ({"password": "file:/nowhere"}, "registry"),
        ({"username": "somebody"}, "sign_in"),
    ],
)
def test_what_keeps_a_probe_from_being_sent_is_said_and_the_worker_goes_on(
    canary: Mailbox, worker: Worker, changes: dict[str, object], code: str
) -> None:
    assert canary.canary
    submission = msgspec.structs.replace(canary.canary, **changes)
    registry = worker.application.registry
    registry.update(msgspec.structs.replace(canary, canary=submission), seen=canary)
    with capture_logs() as logs:
        tasks.canary(canary.id)
    [entry] = [entry for entry in logs if entry["event"] == "canary_not_sent"]
    assert (entry["mailbox"], entry["code"]) == (canary.id, code)
    assert PASSWORD not in str(logs)


def test_a_refusal_names_the_mailbox_and_the_smtp_server(
    canary: Mailbox, worker: Worker, server: SmtpServer
) -> None:
    server.greeting = "554 no"
    with pytest.raises(SessionError, match=f"canary of mailbox mb-a at localhost:{server.port}"):
        worker.application.canaries.send(canary)
