"""The pods of a release, run as plain processes against real servers, do the whole job."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from ingest.events.schema import CloudEvent
from ingest.state.connect import connect
from ingest.state.secrets import new_key
from tests.chart.kubelet import Pod, Secrets
from tests.chart.pods import APPLY, WORKERS
from tests.chart.render import Values, render, scenario
from tests.servers.certificates import make_certificates
from tests.servers.dovecot import Dovecot, Maildrop
from tests.servers.egress import ConnectProxy, connect_proxy, tls_front
from tests.servers.ports import HOST, free_port
from tests.servers.seaweedfs import SeaweedFs
from tests.servers.valkey import Valkey, valkey_server

MESSAGES = 20


def values(seaweedfs: SeaweedFs, prefix: str, *more: Values) -> Values:
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
        *more,
    )


def declared(dovecot: Dovecot, maildrop: Maildrop) -> Values:
    """The mailbox `orders`, kept by the values."""
    orders = {
        "name": "orders",
        "address": f"pop3s://{maildrop.name}@localhost:{dovecot.pop3s_port}",
        "passwordFrom": {"secret": "orders-mailbox", "key": "password"},
        "caFile": "/etc/mail-ingest/authorities/ca.crt",
    }
    return {
        "mailboxes": {"enabled": True, "declared": [orders]},
        "passwords": {"existingSecrets": []},
        "authorities": {"existingSecret": {"name": "authority"}, "trustedFor": "none"},
    }


@pytest.fixture
def secrets(valkey: Valkey, seaweedfs: SeaweedFs, maildrop: Maildrop, dovecot: Dovecot) -> Secrets:
    return {
        "redis": {"url": valkey.url},
        "s3": seaweedfs.environment,
        "keys": {"fernet": new_key()},
        "orders-mailbox": {"password": maildrop.password},
        "authority": {"ca.crt": dovecot.ca_file.read_text()},
    }


@contextlib.contextmanager
def created(given: Values, secrets: Secrets, node: Path) -> Iterator[dict[str, Pod]]:
    """The pods of a release, one of each Deployment; they are not started."""
    objects = render(given)
    made = {
        component: Pod(objects, component, secrets, node)
        for component in (*WORKERS, "beat", "doctor")
    }
    if given.get("mailboxes"):
        made[APPLY] = Pod(objects, APPLY, secrets, node, made["poll"].paths)
    try:
        yield made
    finally:
        for pod in made.values():
            pod.kill()


@pytest.fixture
def pods(seaweedfs: SeaweedFs, secrets: Secrets, tmp_path: Path) -> Iterator[dict[str, Pod]]:
    with created(values(seaweedfs, tmp_path.name), secrets, tmp_path) as made:
        yield made


def wait(done: Callable[[], bool], pods: dict[str, Pod], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        logs = (pod.log.read_text() for pod in pods.values() if pod.log.exists())
        assert time.monotonic() < deadline, "".join(logs)[-8000:]
        time.sleep(0.1)


def add_mailbox(poll: Pod, dovecot: Dovecot, maildrop: Maildrop) -> None:
    """As a person does it, in a poll worker."""
    poll.run(
        *("mailbox", "add", "orders", f"pop3s://{maildrop.name}@localhost:{dovecot.pop3s_port}"),
        f"--password-ref=file:{poll.path('/run/secrets/mailboxes/orders-mailbox/password')}",
        *(f"--ca-file={dovecot.ca_file}", "--yes"),
    )


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
    add_mailbox(poll, dovecot, maildrop)
    wait(lambda: maildrop.count() == 0 and len(published(valkey)) == MESSAGES, pods)

    assert published(valkey) == {hashlib.sha256(each).hexdigest() for each in octets}
    records = msgspec.json.decode(poll.run("message", "list", "--json"))
    assert len(records) == MESSAGES
    assert poll.run("message", "cat", records[0]["id"]) in octets
    for component in (*WORKERS, "beat"):
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert pods[component].passes(probe), (component, probe)
    assert b"WRONG" not in pods["doctor"].run_own()
    for component in (*WORKERS, "beat"):
        code, left = pods[component].stop()
        assert code == 0, component
        assert left > 0, component


def test_mailboxes_that_the_values_declare_are_polled_and_paused_once_they_do_not(
    *,
    seaweedfs: SeaweedFs,
    secrets: Secrets,
    tmp_path: Path,
    dovecot: Dovecot,
    maildrop: Maildrop,
    valkey: Valkey,
) -> None:
    given = values(seaweedfs, tmp_path.name, declared(dovecot, maildrop))
    maildrop.deliver(b"Subject: one\r\n\r\nHello\r\n")
    with created(given, secrets, tmp_path / "1") as pods:
        for component in (*WORKERS, "beat"):
            pods[component].start()
        assert b"1 added" in pods[APPLY].run_own()
        wait(lambda: maildrop.count() == 0 and len(published(valkey)) == 1, pods)
        assert b"0 changed, 0 paused, 0 removed, 1 unchanged" in pods[APPLY].run_own()
        shown = msgspec.json.decode(pods["poll"].run("mailbox", "show", "orders", "--json"))
        assert shown["source"] == "release mail/orders"

    upgraded = values(seaweedfs, tmp_path.name, {"mailboxes": {"enabled": True, "declared": []}})
    with created(upgraded, secrets, tmp_path / "2") as pods:
        assert b"= orders: no longer declared" in pods[APPLY].run_own()


@pytest.fixture
def proxy() -> Iterator[ConnectProxy]:
    with connect_proxy() as running:
        yield running


def test_the_store_is_reached_through_a_proxy_with_an_authority_of_ones_own(
    *,
    seaweedfs: SeaweedFs,
    secrets: Secrets,
    tmp_path: Path,
    dovecot: Dovecot,
    maildrop: Maildrop,
    valkey: Valkey,
    proxy: ConnectProxy,
) -> None:
    certificates = make_certificates(tmp_path)
    authorities = {"store-authority": {"tls.crt": certificates.ca_file.read_text()}, **secrets}
    target = urlsplit(seaweedfs.endpoint)
    with tls_front(HOST, target.port or 0, certificates) as port:
        behind: Values = {
            "store": {"endpoint": f"https://localhost:{port}"},
            "authorities": {"existingSecret": {"name": "store-authority", "key": "tls.crt"}},
            "extraEnv": [{"name": "HTTPS_PROXY", "value": proxy.url}],
        }
        given = values(seaweedfs, tmp_path.name, behind)
        maildrop.deliver(b"Subject: one\r\n\r\nHello\r\n")
        with created(given, authorities, tmp_path / "1") as pods:
            for component in (*WORKERS, "beat"):
                pods[component].start()
            add_mailbox(pods["poll"], dovecot, maildrop)
            wait(lambda: maildrop.count() == 0 and len(published(valkey)) == 1, pods)
            assert pods["poll"].passes("readinessProbe")

        # Redis and POP3 go their own way.
        assert set(proxy.targets) == {f"localhost:{port}"}
        assert not proxy.refused

        untrusted = values(
            seaweedfs, tmp_path.name, behind, {"authorities": {"trustedFor": "none"}}
        )
        with (
            created(untrusted, authorities, tmp_path / "2") as pods,
            pytest.raises(AssertionError, match="certificate"),
        ):
            pods["doctor"].run_own()


@pytest.mark.parametrize(
    ("trusted_for", "in_url"),
    [("all", ""), ("none", "?ssl_ca_certs=/etc/mail-ingest/authorities/ca.crt")],
)
def test_redis_and_mail_servers_may_have_certificates_of_ones_own_authorities(
    *,
    trusted_for: str,
    in_url: str,
    seaweedfs: SeaweedFs,
    secrets: Secrets,
    tmp_path: Path,
    dovecot: Dovecot,
    maildrop: Maildrop,
) -> None:
    certificates = make_certificates(tmp_path)
    bundle = certificates.ca_file.read_text() + dovecot.ca_file.read_text()
    maildrop.deliver(b"Subject: one\r\n\r\nHello\r\n")
    behind = free_port()
    with (
        valkey_server("--port", str(behind), "--bind", HOST) as valkey,
        tls_front(HOST, behind, certificates) as port,
    ):
        url = f"rediss://localhost:{port}/0{in_url}"
        ours = {**secrets, "authority": {"ca.crt": bundle}, "redis": {"url": url}}
        trust = {"authorities": {"trustedFor": trusted_for}}
        given = values(seaweedfs, tmp_path.name, declared(dovecot, maildrop), trust)
        if trusted_for == "all":
            given["mailboxes"]["declared"][0].pop("caFile")
        with created(given, ours, tmp_path) as pods:
            for component in (*WORKERS, "beat"):
                pods[component].start()
            assert b"1 added" in pods[APPLY].run_own()
            wait(lambda: maildrop.count() == 0 and len(published(valkey)) == 1, pods)
