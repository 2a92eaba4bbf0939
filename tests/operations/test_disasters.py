"""What the guide to operations says to do, done: real processes, and its own commands."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest
from botocore.exceptions import ClientError

from ingest.objects.sweep import sweep
from ingest.state.checkpoint import Checkpoints
from ingest.state.connect import connect
from ingest.state.secrets import new_key
from tests import messages
from tests.e2e.fleet import Fleet, fleet, s3_settings, stored
from tests.fakes.pop3_server import Faults, Pop3Server
from tests.faults.invariants import all_arrived, delivered
from tests.operations.guide import Operator
from tests.servers.dovecot import PASSWORD, Dovecot, Maildrop
from tests.servers.ports import HOST, free_port
from tests.servers.s3_proxy import error, s3_proxy
from tests.servers.seaweedfs import SeaweedFs, seaweedfs_server
from tests.servers.valkey import Valkey, valkey_server

pytestmark = [pytest.mark.exam, pytest.mark.timeout(240)]

STREAM = "mail-ingest:events"


class Redis:
    """A Redis of the test's own that redis-cli can reach, and which it may hurt."""

    def __init__(self, server: Valkey, port: int) -> None:
        self.server = server
        self.url = f"redis://{HOST}:{port}/0"


def redis_server(stack: ExitStack) -> Redis:
    port = free_port()
    return Redis(stack.enter_context(valkey_server("--port", str(port), "--bind", HOST)), port)


@pytest.fixture
def redis() -> Iterator[Redis]:
    with ExitStack() as stack:
        yield redis_server(stack)


@pytest.fixture
def settings(seaweedfs: SeaweedFs, tmp_path: Path) -> dict[str, str]:
    return {**s3_settings(seaweedfs, tmp_path.name), "INGEST_KEYS": new_key()}


@pytest.fixture
def ours(tmp_path: Path, redis: Redis, settings: Mapping[str, str]) -> Iterator[Fleet]:
    with fleet(tmp_path, redis.url, settings) as made:
        yield made


def operator(ours: Fleet, redis: str = "", **variables: str) -> Operator:
    """Who has the fleet's settings, and knows how to reach its bucket and Redis."""
    reach = {"AWS_ENDPOINT_URL": ours.settings.s3_endpoint, "AWS_DEFAULT_REGION": "us-east-1"}
    return Operator(ours, {"STORE": ours.settings.store, "REDIS": redis, **reach, **variables})


def start(ours: Fleet) -> None:
    ours.start("worker")
    ours.start("beat")


def stop(ours: Fleet) -> None:
    for running in ours.processes:
        running.process.send_signal(signal.SIGTERM)
    for running in ours.processes:
        running.process.wait(20)


def mail(first: int, count: int = 5) -> list[bytes]:
    """Small messages, and one whose attachment is a part of its own."""
    small = [messages.small(seed).octets for seed in range(first, first + count)]
    return [*small, messages.with_attachment(first, 100_000).octets]


def published(ours: Fleet) -> dict[str, list[bytes]]:
    """What consumers could read, as octets, by the events' ids."""
    found: dict[str, list[bytes]] = {}
    with closing(connect(ours.settings.redis_url)) as client:
        entries: Any = client.xrange(ours.settings.events_stream)
    for _, fields in entries:
        found.setdefault(fields[b"id"].decode(), []).append(fields[b"event"])
    return found


def assert_all_arrived_once(ours: Fleet, maildrop: Maildrop, hashes: set[str]) -> None:
    """And none of it was published twice, nor committed twice."""
    ours.wait(lambda: all_arrived(ours, maildrop, hashes), 60)
    assert {len(sent) for sent in published(ours).values()} == {1}
    with ours.store() as store:
        assert Counter(record.sha256 for record in stored(store)) == Counter(hashes)


def retrieved(ours: Fleet) -> int:
    """How many messages the fleet's processes retrieved, by their logs."""
    lines = [line for line in ours.logs().splitlines() if '"session_completed"' in line]
    return sum(json.loads(line)["retrieved"] for line in lines)


def test_before_and_after_an_upgrade_all_is_seen_to_be_well(
    ours: Fleet, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    hashes = delivered(maildrop, mail(0))
    ours.add(dovecot, maildrop.name)
    start(ours)
    assert_all_arrived_once(ours, maildrop, hashes)
    told = operator(ours).types("Upgrade")
    assert "WRONG" not in told
    assert f"\n{len(hashes)} messages" in told


def test_a_redis_that_is_gone_under_a_running_fleet_is_read_back(
    ours: Fleet, redis: Redis, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    hashes = delivered(maildrop, mail(0))
    ours.add(dovecot, maildrop.name)
    start(ours)
    assert_all_arrived_once(ours, maildrop, hashes)
    before = published(ours)
    redis.server.kill()
    hashes |= delivered(maildrop, mail(10))
    redis.server.empty()
    redis.server.start()
    assert_all_arrived_once(ours, maildrop, hashes)
    operates = operator(ours)
    operates.types("Redis is gone")
    operates.types("Redis is gone", 1)
    time.sleep(2)
    assert_all_arrived_once(ours, maildrop, hashes)
    assert published(ours).items() >= before.items()


def test_a_bucket_that_takes_no_writes_stops_deletes_and_all_goes_on_after(
    tmp_path: Path,
    redis: Redis,
    seaweedfs: SeaweedFs,
    settings: Mapping[str, str],
    dovecot: Dovecot,
) -> None:
    maildrop = dovecot.add_user(f"readonly-{tmp_path.name[-6:]}".lower())
    port = free_port()
    with s3_proxy(seaweedfs.endpoint) as proxy:
        behind = {"INGEST_S3_ENDPOINT": proxy.endpoint, "INGEST_METRICS_PORT": str(port)}
        with fleet(tmp_path, redis.url, {**settings, **behind}) as ours:
            ours.add(dovecot, maildrop.name)
            start(ours)
            ours.wait(lambda: '"worker_started"' in ours.logs(), 30)
            for operation in ("put_object", "create_multipart_upload"):
                proxy.strike(operation, error(403, "AccessDenied"))
            hashes = delivered(maildrop, mail(0))
            ours.wait(lambda: counted(port, "store_refused") > 0, 60)
            told = operator(ours).types("The bucket is read-only, or full", code=7)
            assert "WRONG" in told
            assert maildrop.count() == len(hashes)
            assert not published(ours)
            proxy.heal()
            assert_all_arrived_once(ours, maildrop, hashes)


def counted(port: int, code: str) -> float:
    """How many such errors a worker counted: what the alerts look at."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0.0
    name = f'mail_ingest_errors_total{{code="{code}"}} '
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def test_a_bucket_that_was_emptied_stops_its_fleet_until_it_begins_anew(
    ours: Fleet, redis: Redis, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    ours.add(dovecot, maildrop.name)
    start(ours)
    assert_all_arrived_once(ours, maildrop, delivered(maildrop, mail(0)))
    stop(ours)
    with ours.store() as store:
        store.delete([item.key for item in store.list("")])
    hashes = delivered(maildrop, mail(10))
    refused = ours.start("worker")
    assert refused.process.wait(30)
    assert "there is no checkpoint.json" in refused.log.read_text()
    assert "correct INGEST_STORE" in operator(ours).types("Redis is gone", code=7)
    assert maildrop.count() == len(hashes)

    with closing(connect(redis.url)) as client:
        client.flushall()
    start(ours)
    ours.add(dovecot, maildrop.name)
    assert_all_arrived_once(ours, maildrop, hashes)


def test_a_bucket_restored_from_an_older_copy_loses_nothing_that_servers_have(
    ours: Fleet, redis: Redis, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    with ExitStack() as stack:
        spare = redis_server(stack)
        copied = f"{ours.settings.store}-copy"
        operates = operator(ours, redis.url, BACKUP=copied, SPARE=spare.url)
        old = delivered(maildrop, mail(0))
        ours.add(dovecot, maildrop.name, "--delete=never")
        start(ours)
        ours.wait(lambda: len(published(ours)) == len(old))
        ours.add(dovecot, dovecot.add_user(f"{maildrop.name}-removed").name)
        operates.types("Back up and restore")
        ours.run("mailbox", "remove", f"{maildrop.name}-removed", "--yes")
        operates.types("Back up and restore")
        told = operates.types("Back up and restore", 1)
        assert f"{len(old)} messages" in told
    hashes = old | delivered(maildrop, mail(10))
    ours.wait(lambda: len(published(ours)) == len(hashes))
    before = published(ours)
    stop(ours)

    with ours.store() as store, closing(connect(redis.url)) as client:
        checkpoints = Checkpoints(client, store)
        for _ in range(6):  # those of half an hour
            assert checkpoints.write(store.now(), checkpoints.look())
        store.delete([item.key for item in store.list("")])
    operator(ours, STORE=copied, BACKUP=ours.settings.store).types("Back up and restore")
    refused = ours.start("worker")
    assert refused.process.wait(30)
    assert "an older copy was restored" in refused.log.read_text()
    operates.types("The bucket was restored from an older copy")
    start(ours)
    ours.wait(lambda: _records(ours) == hashes, 60)
    operates.types("The bucket was restored from an older copy", 1)
    (known,) = json.loads(ours.run("mailbox", "list", "--json"))
    assert known["name"] == maildrop.name
    after = published(ours)
    assert after.keys() == before.keys()
    ours.run("mailbox", "set", maildrop.name, "--delete", "committed", "--yes")
    ours.wait(lambda: not maildrop.count(), 60)
    assert _records(ours) == hashes


def _records(ours: Fleet) -> set[str]:
    with ours.store() as store:
        return {record.sha256 for record in stored(store)}


def test_a_fleet_that_moves_to_another_store_and_redis_takes_everything_along(
    ours: Fleet, tmp_path: Path, settings: Mapping[str, str], dovecot: Dovecot, maildrop: Maildrop
) -> None:
    hashes = delivered(maildrop, mail(0))
    ours.add(dovecot, maildrop.name, "--delete=never")
    start(ours)
    ours.wait(lambda: len(published(ours)) == len(hashes))
    stop(ours)
    place = f"{ours.settings.store}-new"
    operator(ours, NEW_STORE=place).types("Move to another store")
    home = tmp_path / "moved"
    home.mkdir()
    with (
        ExitStack() as stack,
        fleet(home, redis_server(stack).url, {**settings, "INGEST_STORE": place}) as moved,
    ):
        start(moved)
        moved.wait(lambda: len(published(moved)) == len(hashes), 60)
        moved.wait(lambda: '"session_completed"' in moved.logs())
        operator(moved).types("Move to another store", 1)
        assert retrieved(moved) == 0
        assert published(moved) == published(ours)
        assert Counter(_hashes(moved)) == Counter(hashes)


def _hashes(ours: Fleet) -> list[str]:
    with ours.store() as store:
        return [record.sha256 for record in stored(store)]


def test_the_stores_credentials_are_rotated(
    tmp_path: Path, redis: Redis, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    with seaweedfs_server("-s3.iam.readOnly=false") as seaweedfs:
        iam = boto3.client(
            "iam",
            endpoint_url=seaweedfs.endpoint,
            region_name="us-east-1",
            aws_access_key_id=seaweedfs.access_key,
            aws_secret_access_key=seaweedfs.secret_key,
        )
        old, new = (_access_key(iam, user) for user in ("old", "new"))
        with fleet(tmp_path, redis.url, {**s3_settings(seaweedfs, "rotated"), **old}) as ours:
            ours.add(dovecot, maildrop.name)
            start(ours)
            hashes = delivered(maildrop, mail(0))
            assert_all_arrived_once(ours, maildrop, hashes)
            iam.delete_access_key(UserName="old", AccessKeyId=old["AWS_ACCESS_KEY_ID"])
            hashes |= delivered(maildrop, mail(10))
            ours.wait(lambda: '"store_refused"' in ours.logs(), 60)
            assert maildrop.count() == 6
            stop(ours)
            ours.environment |= new
            start(ours)
            assert_all_arrived_once(ours, maildrop, hashes)


def _access_key(iam: Any, user: str) -> dict[str, str]:  # noqa: ANN401 - boto3's
    everything = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
    iam.create_user(UserName=user)
    made = iam.create_access_key(UserName=user)["AccessKey"]
    iam.put_user_policy(UserName=user, PolicyName="all", PolicyDocument=policy)
    return {
        "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
    }


def test_the_password_of_redis_is_rotated(
    tmp_path: Path, redis: Redis, settings: Mapping[str, str], dovecot: Dovecot, maildrop: Maildrop
) -> None:
    with closing(connect(redis.url)) as client:
        client.config_set("requirepass", "old")
    old, new = (redis.url.replace("://", f"://:{word}@") for word in ("old", "new"))
    with fleet(tmp_path, old, settings) as ours:
        words = {"NEW_PASSWORD": "new", "OLD_PASSWORD": "old", "NEW_REDIS": new}
        operates = operator(ours, old, **words)
        ours.add(dovecot, maildrop.name)
        start(ours)
        hashes = delivered(maildrop, mail(0))
        assert_all_arrived_once(ours, maildrop, hashes)
        operates.types("Credentials were rotated")
        stop(ours)
        operates.types("Credentials were rotated", 1)
        ours.run("doctor", expect=8)
        ours.environment["INGEST_REDIS_URL"] = new
        ours.settings = msgspec.structs.replace(ours.settings, redis_url=new)
        start(ours)
        hashes |= delivered(maildrop, mail(10))
        assert_all_arrived_once(ours, maildrop, hashes)


def test_a_provider_that_renumbers_its_unique_ids_causes_no_second_event(
    ours: Fleet, tmp_path: Path
) -> None:
    octets = mail(0)
    with Pop3Server([(f"id-{number}", each) for number, each in enumerate(octets)]) as server:
        (tmp_path / "password").write_text(server.password)
        _add(ours, server, tmp_path / "password", "--delete=never")
        start(ours)
        ours.wait(lambda: len(published(ours)) == len(octets))
        server.faults = Faults(unique_ids=lambda unique_id, _: f"new-{unique_id}")
        ours.wait(lambda: retrieved(ours) == 2 * len(octets))
        _set_rule(ours, "committed")
        ours.wait(lambda: len(server.deleted) == len(octets))
    assert set(Counter(_hashes(ours)).values()) == {2}  # stored twice, under the same id
    assert {len(sent) for sent in published(ours).values()} == {1}


def _add(ours: Fleet, server: Pop3Server, password: Path, *options: str) -> None:
    user = server.username.replace("@", "%40")
    ours.run(
        *("mailbox", "add", "orders", f"pop3://{user}@{server.host}:{server.port}"),
        *(f"--password-ref=file:{password}", "--plaintext", "--yes", *options),
    )


def _set_rule(ours: Fleet, rule: str) -> None:
    ours.run("mailbox", "set", "orders", "--delete", rule, "--yes")


def test_all_passwords_were_changed(
    ours: Fleet, tmp_path: Path, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    ours.run(*_added(dovecot, maildrop), "--password-ref=env:DOVECOT_PASSWORD")
    _change_password(dovecot, maildrop, "changed")
    start(ours)
    ours.wait(lambda: '"sign_in"' in ours.logs(), 30)
    hashes = delivered(maildrop, mail(0))
    ours.run("mailbox", "pause", "orders")  # as workers do after four refusals
    place = tmp_path / "orders"
    place.write_text("changed")
    operates = Operator(ours, places={"/etc/mail-ingest/passwords/orders": str(place)})
    assert "orders" in operates.types("All passwords were changed")
    assert_all_arrived_once(ours, maildrop, hashes)


def _added(dovecot: Dovecot, maildrop: Maildrop) -> list[str]:
    address = f"pop3s://{maildrop.name}@localhost:{dovecot.pop3s_port}"
    return ["mailbox", "add", "orders", address, f"--ca-file={dovecot.ca_file}", "--yes"]


def _change_password(dovecot: Dovecot, maildrop: Maildrop, password: str) -> None:
    users = dovecot.directory / "users"
    (users / maildrop.name).write_text(f"{maildrop.name}:{{PLAIN}}{password}\n")


def _seal_password(ours: Fleet, dovecot: Dovecot, maildrop: Maildrop) -> None:
    """A mailbox whose password was entered by a person."""
    ours.run(*_added(dovecot, maildrop), "--password-ref=env:DOVECOT_PASSWORD")
    operator(ours).types("Keys", 3, password=PASSWORD)


def test_the_key_that_seals_passwords_is_rotated(
    ours: Fleet, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    _seal_password(ours, dovecot, maildrop)
    operates = operator(ours)
    old, new = ours.environment["INGEST_KEYS"], operates.types("Keys").strip()
    hashes: set[str] = set()
    for turn, keys in enumerate((f"{old},{new}", f"{new},{old}", new)):
        if keys == new:
            assert "1" in operates.types("Keys", 1)
        stop(ours)
        ours.environment["INGEST_KEYS"] = keys
        start(ours)
        hashes |= delivered(maildrop, mail(10 * turn))
        assert_all_arrived_once(ours, maildrop, hashes)


def test_a_lost_key_loses_no_mail_and_its_passwords_are_entered_again(
    ours: Fleet, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    _seal_password(ours, dovecot, maildrop)
    hashes = delivered(maildrop, mail(0))
    start(ours)
    assert_all_arrived_once(ours, maildrop, hashes)
    stop(ours)
    ours.environment["INGEST_KEYS"] = operator(ours).types("Keys").strip()
    start(ours)
    hashes |= delivered(maildrop, mail(10))
    assert "no key opens" in operator(ours).types("Keys", 2, code=4)
    ours.run("audit")
    operator(ours).types("Keys", 3, password=PASSWORD)
    assert_all_arrived_once(ours, maildrop, hashes)


def test_a_bucket_with_object_lock_is_one_to_work_with(
    tmp_path: Path, redis: Redis, seaweedfs: SeaweedFs, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    locked = seaweedfs._replace(bucket=f"locked-{maildrop.name}")
    client = locked.client()
    client.create_bucket(Bucket=locked.bucket, ObjectLockEnabledForBucket=True)
    retention = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    client.put_object_lock_configuration(
        Bucket=locked.bucket,
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": retention},  # type: ignore[typeddict-item]  # Days alone
    )
    with fleet(tmp_path, redis.url, s3_settings(locked, "kept")) as ours:
        ours.add(dovecot, maildrop.name)
        start(ours)
        hashes = delivered(maildrop, mail(0))
        assert_all_arrived_once(ours, maildrop, hashes)
        ours.run("mailbox", "set", maildrop.name, "--delete", "never", "--yes")
        assert "WRONG" not in ours.run("doctor")
        ours.run("audit")
        with ours.store() as store:
            (commit, *_) = [item.key for item in store.list("mail/") if "commit" in item.key]
            sweep(store, age=timedelta())
            assert Counter(_hashes(ours)) == Counter(hashes)
        versions = client.list_object_versions(Bucket=locked.bucket, Prefix=f"kept/{commit}")
        (version,) = versions["Versions"]
        with pytest.raises(ClientError, match="AccessDenied"):
            client.delete_object(
                Bucket=locked.bucket, Key=version["Key"], VersionId=version["VersionId"]
            )
