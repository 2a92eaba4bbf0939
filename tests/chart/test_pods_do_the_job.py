"""The pods of a release, run as plain processes against real servers, do the whole job."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from ingest.events.schema import CloudEvent
from ingest.state.connect import connect
from ingest.state.secrets import new_key
from tests.chart.kubelet import Pod, Secrets
from tests.chart.pods import WORKERS
from tests.chart.render import Values, render, scenario
from tests.servers.dovecot import Dovecot, Maildrop
from tests.servers.seaweedfs import SeaweedFs
from tests.servers.valkey import Valkey

MESSAGES = 20


def values(seaweedfs: SeaweedFs, prefix: str) -> Values:
    """As in production: every secret is one of the namespace's."""
    return scenario(
        "default",
        {
            "redis": {"url": "", "existingSecret": {"name": "redis"}},
            "store": {
                "url": f"s3://{seaweedfs.bucket}/{prefix}",
                "endpoint": seaweedfs.endpoint,
                "region": "us-east-1",
                "pathStyle": True,
                "existingSecret": {"name": "s3"},
            },
            "keys": {"existingSecret": {"name": "keys", "key": "fernet"}},
            "passwords": {"existingSecrets": ["orders-mailbox"]},
            "settings": {"INGEST_POLL_SECONDS": 1, "INGEST_POLL_SECONDS_MAX": 2},
        },
    )


@pytest.fixture
def secrets(valkey: Valkey, seaweedfs: SeaweedFs, maildrop: Maildrop) -> Secrets:
    return {
        "redis": {"url": valkey.url},
        "s3": seaweedfs.environment,
        "keys": {"fernet": new_key()},
        "orders-mailbox": {"password": maildrop.password},
    }


@pytest.fixture
def pods(seaweedfs: SeaweedFs, secrets: Secrets, tmp_path: Path) -> Iterator[dict[str, Pod]]:
    """The pods of a release, one of each Deployment; they are not started."""
    objects = render(values(seaweedfs, tmp_path.name))
    made = {
        component: Pod(objects, component, secrets, tmp_path)
        for component in (*WORKERS, "beat", "doctor")
    }
    try:
        yield made
    finally:
        for pod in made.values():
            pod.kill()


def wait(done: Callable[[], bool], pods: dict[str, Pod], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        logs = (pod.log.read_text() for pod in pods.values() if pod.log.exists())
        assert time.monotonic() < deadline, "".join(logs)[-8000:]
        time.sleep(0.1)


def published(valkey: Valkey) -> set[str]:
    """The hashes of all messages whose events are published."""
    with contextlib.closing(connect(valkey.url)) as client:
        entries: list[tuple[bytes, dict[bytes, bytes]]] = client.xrange("mail-ingest:events")  # type: ignore[assignment]  # sync client
    events = (msgspec.json.decode(fields[b"event"], type=CloudEvent) for _, fields in entries)
    return {event.data.sha256 for event in events}


def test_mail_is_ingested_and_every_probe_passes_and_every_pod_ends_in_time(
    pods: dict[str, Pod], dovecot: Dovecot, maildrop: Maildrop, valkey: Valkey
) -> None:
    octets = [f"Subject: {number}\r\n\r\nHello\r\n".encode() for number in range(MESSAGES)]
    maildrop.deliver_many(octets)
    poll = pods["poll"]
    for component in (*WORKERS, "beat"):
        pods[component].start()
    poll.run(
        *("mailbox", "add", "orders", f"pop3s://{maildrop.name}@localhost:{dovecot.pop3s_port}"),
        f"--password-ref=file:{poll.path('/run/secrets/mailboxes/orders-mailbox/password')}",
        *(f"--ca-file={dovecot.ca_file}", "--yes"),
    )
    wait(lambda: maildrop.count() == 0 and len(published(valkey)) == MESSAGES, pods)

    assert published(valkey) == {hashlib.sha256(each).hexdigest() for each in octets}
    records = msgspec.json.decode(poll.run("message", "list", "--json"))
    assert len(records) == MESSAGES
    assert poll.run("message", "cat", records[0]["id"]) in octets
    for component in WORKERS:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert pods[component].passes(probe), (component, probe)
    assert b"WRONG" not in pods["doctor"].run_own()
    for component in (*WORKERS, "beat"):
        code, left = pods[component].stop()
        assert code == 0, component
        assert left > 0, component
