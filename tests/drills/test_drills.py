"""Every alert is made to fire on a running system, and cleared as its runbook says."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest

from ingest.state.connect import connect
from tests import messages
from tests.drills.hurried import hurried
from tests.drills.site import Site, site
from tests.e2e.fleet import s3_settings
from tests.faults.test_poison import PARSER, POISON
from tests.monitoring.rules import alerts
from tests.servers.certificates import make_certificates
from tests.servers.dovecot import Dovecot, Maildrop
from tests.servers.prometheus import promtool
from tests.servers.proxy import tcp_proxy
from tests.servers.s3_proxy import Fault, S3Proxy, error, s3_proxy
from tests.servers.seaweedfs import SeaweedFs
from tests.servers.smtp import PASSWORD, USERNAME, SmtpServer, smtp_server
from tests.servers.valkey import Valkey, valkey_server

pytestmark = [pytest.mark.prometheus, pytest.mark.timeout(600)]

drill = pytest.mark.exam  # takes a minute or several

_numbers = count()


class Opened(Protocol):
    """Opens a site with these settings: `idle`, or with a worker and a beat at work."""

    def __call__(self, settings: dict[str, str] | None = None, *, idle: bool = False) -> Site: ...


@pytest.fixture
def redis() -> Iterator[Valkey]:
    """A Valkey that may be hurt."""
    with valkey_server() as server:
        yield server


@pytest.fixture
def opened(tmp_path: Path, redis: Valkey) -> Iterator[Opened]:
    with ExitStack() as stack:

        def open_site(settings: dict[str, str] | None = None, *, idle: bool = False) -> Site:
            made = stack.enter_context(site(tmp_path, redis, settings))
            if not idle:
                made.worker()
                made.beat()
            return made

        yield open_site


def names(how_many: int) -> list[str]:
    return [f"drill{next(_numbers)}" for _ in range(how_many)]


def small(how_many: int) -> Iterator[bytes]:
    return (messages.small(next(_numbers)).octets for _ in range(how_many))


def test_every_alert_has_a_drill() -> None:
    drilled = set(re.findall(r"\bMailIngest\w+", Path(__file__).read_text()))
    assert {alert.alert for alert in alerts()} - drilled == set()


def test_the_rules_are_still_rules_when_they_are_in_a_hurry(tmp_path: Path) -> None:
    promtool("check", "rules", str(hurried(tmp_path / "rules.yaml")))


@drill
def test_no_worker_can_be_scraped_until_one_is_started(opened: Opened) -> None:
    here = opened(idle=True)
    worker = here.worker()
    here.beat()
    worker.kill()
    here.fires("MailIngestNoWorker")
    here.worker()
    here.clears("MailIngestNoWorker")


@drill
def test_nobody_observes_until_a_beat_is_started(opened: Opened) -> None:
    here = opened(idle=True)
    here.worker()
    beat = here.beat()
    here.watches("mail_ingest_due_lag_seconds")
    beat.kill()
    here.fires("MailIngestNobodyObserves")
    here.beat()
    here.clears("MailIngestNobodyObserves")


@drill
def test_a_worker_that_is_started_again_and_again(opened: Opened) -> None:
    here = opened(idle=True)
    for _ in range(4):
        worker = here.worker()
        if here.firing() & {"MailIngestWorkerRestarts"}:
            break
        worker.kill()
    here.fires("MailIngestWorkerRestarts")
    here.clears("MailIngestWorkerRestarts")


@drill
def test_workers_that_hang_until_they_are_restarted(opened: Opened, dovecot: Dovecot) -> None:
    here = opened({"INGEST_CONCURRENCY": "1"}, idle=True)
    (drop,) = here.add(dovecot, *names(1))
    hanging = here.worker(drill="claimed:hangs")
    here.beat()
    here.fires("MailIngestNobodyWorks")
    here.worker(1)
    here.clears("MailIngestNobodyWorks")
    here.fires("MailIngestWorkerNotConsuming")
    hanging.kill()
    here.worker()
    here.clears("MailIngestWorkerNotConsuming")
    drop.deliver_many(small(3))
    here.drains(drop)


@drill
def test_a_bug_that_breaks_every_task_until_the_worker_is_rolled_back(
    opened: Opened, dovecot: Dovecot
) -> None:
    here = opened(idle=True)
    drops = here.add(dovecot, *names(3))
    for drop in drops:
        drop.deliver_many(small(2))
    broken = here.worker(drill="claimed:breaks")
    here.beat()
    here.fires("MailIngestUnexpectedErrors", "MailIngestTasksFail")
    broken.kill()
    here.worker()
    here.clears("MailIngestUnexpectedErrors", "MailIngestTasksFail")
    here.drains(*drops)


@drill
def test_a_bug_that_would_delete_without_evidence(opened: Opened, dovecot: Dovecot) -> None:
    here = opened(idle=True)
    (drop,) = here.add(dovecot, *names(1))
    broken = here.worker(drill="claimed:deletes-without-evidence")
    here.beat()
    here.fires("MailIngestDeleteWithoutEvidence")
    broken.kill()
    here.worker()
    here.clears("MailIngestDeleteWithoutEvidence")
    drop.deliver_many(small(3))
    here.drains(drop)


@drill
def test_a_provider_that_is_down_until_it_is_up(opened: Opened, dovecot: Dovecot) -> None:
    here = opened()
    with tcp_proxy(dovecot.host, dovecot.pop3s_port) as proxy:
        drops = here.add(dovecot, *names(3), port=proxy.port)
        for drop in drops:
            drop.deliver_many(small(2))
        here.drains(*drops)
        proxy.cut_down = 0
        here.fires("MailIngestProviderFails", "MailIngestSessionsFail")
        proxy.cut_down = None
        here.clears("MailIngestProviderFails", "MailIngestSessionsFail")
        for drop in drops:
            drop.deliver_many(small(2))
        here.drains(*drops)


def add_by_file(here: Site, dovecot: Dovecot, password: Path) -> list[Maildrop]:
    """Maildrops whose password is read from that file."""
    password.write_text(here.ours.environment["DOVECOT_PASSWORD"])
    drops = here.add(dovecot, *names(3))
    for drop in drops:
        here.ours.run("mailbox", "set", drop.name, f"--password-ref=file:{password}")
    take_in(here, drops)
    return drops


def take_in(here: Site, drops: list[Maildrop]) -> None:
    """New mail comes, and is ingested."""
    for drop in drops:
        drop.deliver_many(small(2))
    here.drains(*drops)


@drill
def test_passwords_that_are_refused_until_they_are_right(
    opened: Opened, dovecot: Dovecot, tmp_path: Path
) -> None:
    here = opened()
    password = tmp_path / "password"
    drops = add_by_file(here, dovecot, password)
    right, wrong = password.read_text(), "wrong"
    password.write_text(wrong)
    here.fires("MailIngestSignInRefused", "MailIngestMailboxesPaused")
    password.write_text(right)
    for drop in drops:
        here.ours.run("mailbox", "resume", drop.name)
    here.clears("MailIngestSignInRefused", "MailIngestMailboxesPaused")
    take_in(here, drops)


@drill
def test_a_secret_that_is_not_there_until_it_is(
    opened: Opened, dovecot: Dovecot, tmp_path: Path
) -> None:
    here = opened()
    password = tmp_path / "password"
    drops = add_by_file(here, dovecot, password)
    kept = password.rename(tmp_path / "elsewhere")
    here.fires("MailIngestSecretsUnreadable")
    kept.rename(password)
    here.clears("MailIngestSecretsUnreadable")
    take_in(here, drops)


@drill
def test_a_store_that_fails_until_it_does_not(
    opened: Opened, dovecot: Dovecot, seaweedfs: SeaweedFs
) -> None:
    with s3_proxy(seaweedfs.endpoint) as proxy:
        here = opened(in_store(seaweedfs, proxy))
        (drop,) = here.add(dovecot, *names(1))
        for operation in ("put_object", "get_object", "list_objects_v2"):
            proxy.strike(operation, error(503, "SlowDown"))
        drop.deliver_many(small(3))
        here.fires("MailIngestStoreFails")
        proxy.heal()
        here.clears("MailIngestStoreFails")
        here.drains(drop)


@drill
def test_a_store_that_refuses_until_the_right_is_granted(
    opened: Opened, dovecot: Dovecot, seaweedfs: SeaweedFs
) -> None:
    with s3_proxy(seaweedfs.endpoint) as proxy:
        here = opened(in_store(seaweedfs, proxy))
        (drop,) = here.add(dovecot, *names(1))
        proxy.strike("put_object", error(403, "AccessDenied"))
        drop.deliver_many(small(3))
        here.fires("MailIngestStoreRefuses")
        proxy.heal()
        here.clears("MailIngestStoreRefuses")
        here.drains(drop)


@drill
def test_buffers_that_are_taken_until_there_are_more(
    opened: Opened, dovecot: Dovecot, seaweedfs: SeaweedFs
) -> None:
    with s3_proxy(seaweedfs.endpoint) as proxy:
        here = opened(
            {**in_store(seaweedfs, proxy), "INGEST_BUFFER_OCTETS": str(8 * 1024 * 1024)}, idle=True
        )
        drops = here.add(dovecot, *names(6))
        proxy.strike("upload_part", Fault(seconds=20))
        for drop in drops:
            drop.deliver(messages.with_attachment(next(_numbers), 12_000_000).octets)
        few = here.worker()
        here.beat()
        here.fires("MailIngestBuffersTaken")
        few.kill()
        proxy.heal()
        here.worker(INGEST_BUFFER_OCTETS=str(256 * 1024 * 1024))
        here.clears("MailIngestBuffersTaken")
        here.drains(*drops)


@drill
def test_a_redis_that_hangs_until_it_answers(opened: Opened, redis: Valkey) -> None:
    here = opened()
    here.watches("mail_ingest_due_lag_seconds")
    redis.pause()
    here.fires("MailIngestRedisFails")
    redis.resume()
    here.clears("MailIngestRedisFails")


@drill
def test_a_redis_that_is_full_until_it_has_room(
    opened: Opened, dovecot: Dovecot, redis: Valkey
) -> None:
    here = opened()
    (drop,) = here.add(dovecot, *names(1))
    here.watches("mail_ingest_due_lag_seconds")
    with closing(connect(redis.url)) as client:
        client.config_set("maxmemory", "1")
        here.fires("MailIngestRedisRefuses")
        client.config_set("maxmemory", "0")
    here.clears("MailIngestRedisRefuses")
    drop.deliver_many(small(3))
    here.drains(drop)


@drill
def test_a_sink_that_is_away_until_it_is_back(opened: Opened, dovecot: Dovecot) -> None:
    with valkey_server() as sink:
        here = opened({"INGEST_EVENTS_URL": sink.url})
        (drop,) = here.add(dovecot, *names(1))
        drop.deliver_many(small(3))
        here.drains(drop)
        sink.kill()
        for _ in range(20):
            drop.deliver_many(small(200))
            here.drains(drop)
        here.fires("MailIngestOutboxSlow", "MailIngestOutboxStuck", "MailIngestOutboxFills")
        sink.start()
        here.fires("MailIngestPublishBudgetBurnsFast", "MailIngestPublishBudgetBurnsSlowly")
        here.clears("MailIngestOutboxSlow", "MailIngestOutboxStuck", "MailIngestOutboxFills")
        prompt(here, drop)
        here.clears("MailIngestPublishBudgetBurnsFast", "MailIngestPublishBudgetBurnsSlowly")


def prompt(here: Site, drop: Maildrop) -> None:
    """Much mail, all in time."""
    for _ in range(5):
        drop.deliver_many(small(100))
        here.drains(drop)


@drill
def test_too_few_workers_until_there_are_more(opened: Opened, dovecot: Dovecot) -> None:
    here = opened(idle=True)
    here.add(dovecot, *names(8))
    slow = here.worker(drill="claimed:dawdles", INGEST_CONCURRENCY="2")
    here.beat()
    here.fires("MailIngestPollingLate", "MailIngestPollingStalled")
    slow.kill()
    here.worker(INGEST_CONCURRENCY="16")
    here.clears("MailIngestPollingLate", "MailIngestPollingStalled")


@drill
def test_messages_that_kill_workers_until_they_are_dealt_with(
    opened: Opened, dovecot: Dovecot
) -> None:
    here = opened(idle=True)
    (drop,) = here.add(dovecot, *names(1))
    drop.deliver_many([*small(3), POISON])
    here.beat()
    worker = here.worker(faulty=PARSER)
    here.ours.wait(lambda: worker.process.poll() is not None)
    here.worker(faulty=PARSER)
    here.fires("MailIngestUnexpectedErrors", "MailIngestMessagesQuarantined")
    here.drains(drop)
    here.clears("MailIngestUnexpectedErrors", "MailIngestMessagesQuarantined")


@drill
def test_a_message_that_kills_in_every_way_until_there_is_a_new_version(
    opened: Opened, dovecot: Dovecot
) -> None:
    here = opened(idle=True)
    (drop,) = here.add(dovecot, *names(1))
    cursed = b"Subject: cursed\r\nX-Cursed: yes\r\n\r\nboom\r\n"
    drop.deliver_many([*small(3), cursed])
    here.beat()
    dies_of_it = "message:dies-of-some"
    worker = here.worker(drill=dies_of_it)
    here.ours.wait(lambda: worker.process.poll() is not None)
    worker = here.worker(drill=dies_of_it)
    here.fires("MailIngestMessagesSkipped")
    assert drop.messages() == [cursed]
    worker.kill()
    [listed] = json.loads(here.ours.run("quarantine", "list", "--json"))
    here.ours.run("quarantine", "retry", listed["unique_id"], "--mailbox", drop.name)
    here.worker()
    here.drains(drop)
    here.clears("MailIngestMessagesSkipped")


@drill
def test_a_message_that_its_server_does_not_give_until_it_does(
    opened: Opened, dovecot: Dovecot
) -> None:
    here = opened()
    (drop,) = here.add(dovecot, *names(1))
    drop.deliver_many(small(2))
    damaged = drop.deliver(*small(1))
    damaged.chmod(0)
    drop.deliver_many(small(2))
    here.fires("MailIngestMessagesRefused")
    here.ours.wait(lambda: drop.count() == 1)
    damaged.chmod(0o600)
    here.clears("MailIngestMessagesRefused")
    here.drains(drop)


@drill
def test_stored_mail_that_is_damaged_until_it_is_had_back(
    opened: Opened, dovecot: Dovecot, tmp_path: Path
) -> None:
    here = opened()
    (drop,) = here.add(dovecot, *names(1))
    drop.deliver_many(small(5))
    here.drains(drop)
    batches = list((tmp_path / "store").rglob("commit.zip"))
    backup = [batch.read_bytes() for batch in batches]
    for batch in batches:
        batch.write_bytes(b"damaged")
    here.send("audit")
    here.fires("MailIngestAuditFailed", "MailIngestBrakeOn")
    for batch, octets in zip(batches, backup, strict=True):
        batch.write_bytes(octets)
    here.ours.run("audit")
    here.ours.run("brake", "release")
    here.clears("MailIngestAuditFailed", "MailIngestBrakeOn")
    drop.deliver_many(small(2))
    here.drains(drop)


@drill
def test_a_log_that_can_not_be_read_back_until_it_is_whole(
    opened: Opened, dovecot: Dovecot, tmp_path: Path, redis: Valkey
) -> None:
    here = opened()
    (drop,) = here.add(dovecot, *names(1))
    drop.deliver_many(small(5))
    here.drains(drop)
    batches = list((tmp_path / "store").rglob("commit.zip"))
    backup = [batch.read_bytes() for batch in batches]
    for batch in batches:
        batch.write_bytes(b"damaged")
    with closing(connect(redis.url)) as client:
        client.flushall()
    here.fires("MailIngestStoreDamaged")
    for batch, octets in zip(batches, backup, strict=True):
        batch.write_bytes(octets)
    here.ours.run("reconcile")
    here.clears("MailIngestStoreDamaged")
    drop.deliver_many(small(2))
    here.drains(drop)


@drill
def test_nothing_is_audited_until_it_is(opened: Opened, dovecot: Dovecot, redis: Valkey) -> None:
    with closing(connect(redis.url)) as client:
        client.set("mail-ingest:turn:audit", "somebody who has died since")
    here = opened()
    (drop,) = here.add(dovecot, *names(1))
    drop.deliver_many(small(20))
    here.drains(drop)
    here.fires("MailIngestNothingAudited")
    here.send("audit")
    here.clears("MailIngestNothingAudited")


def in_store(seaweedfs: SeaweedFs, proxy: S3Proxy) -> dict[str, str]:
    return {
        **s3_settings(seaweedfs, f"drills{next(_numbers)}"),
        "INGEST_S3_ENDPOINT": proxy.endpoint,
    }


@pytest.fixture
def smtp(tmp_path: Path) -> Iterator[SmtpServer]:
    directory = tmp_path / "certificates"
    directory.mkdir()
    with smtp_server(make_certificates(directory)) as server:
        yield server


def add_canary(here: Site, dovecot: Dovecot, smtp: SmtpServer) -> Maildrop:
    (drop,) = here.add(dovecot, *names(1))
    smtp.deliver = lambda message: drop.deliver(relayed(message))
    user = USERNAME.replace("@", "%40")
    here.ours.run(
        "canary",
        "set",
        drop.name,
        f"smtp://{user}@localhost:{smtp.port}/?to=probes@example.org",
        "--password-ref=env:SMTP_PASSWORD",
        f"--ca-file={smtp.ca_file}",
    )
    return drop


def relayed(message: bytes) -> bytes:
    """As it arrives: with a field that no other has."""
    return b"Received: by mx.example.org; %d\r\n" % next(_numbers) + message


def works(here: Site) -> None:
    """Probes come home."""
    here.ours.wait(lambda: '"home"' in here.ours.logs(), 60)


@drill
def test_probes_that_never_arrive_until_they_do(
    opened: Opened, dovecot: Dovecot, smtp: SmtpServer
) -> None:
    here = opened({"SMTP_PASSWORD": PASSWORD})
    add_canary(here, dovecot, smtp)
    works(here)
    arrives, smtp.deliver = smtp.deliver, lambda _: None
    here.fires("MailIngestCanaryMissing")
    smtp.deliver = arrives
    here.clears("MailIngestCanaryMissing")


@drill
def test_probes_that_arrive_late_until_they_do_not(
    opened: Opened, dovecot: Dovecot, smtp: SmtpServer
) -> None:
    here = opened({"SMTP_PASSWORD": PASSWORD})
    add_canary(here, dovecot, smtp)
    works(here)
    arrives, held = smtp.deliver, []
    smtp.deliver = lambda message: held.append((time.monotonic(), message))
    deadline = time.monotonic() + 120
    while "MailIngestCanaryLate" not in here.firing():
        assert time.monotonic() < deadline
        while held and held[0][0] < time.monotonic() - 12:
            arrives(held.pop(0)[1])
        time.sleep(0.2)
    here.fires("MailIngestCanaryLate")
    smtp.deliver = arrives
    here.clears("MailIngestCanaryLate")


@drill
def test_probes_that_can_not_be_sent_until_they_can(
    opened: Opened, dovecot: Dovecot, smtp: SmtpServer
) -> None:
    here = opened({"SMTP_PASSWORD": PASSWORD})
    add_canary(here, dovecot, smtp)
    works(here)
    smtp.replies["MAIL"] = "451 4.3.2 not now"
    here.fires("MailIngestCanaryNotSent")
    smtp.replies.clear()
    here.clears("MailIngestCanaryNotSent")
