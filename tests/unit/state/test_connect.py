from __future__ import annotations

import pytest
import redis.exceptions
from kombu import Connection
from redis import Redis

from ingest.errors import SettingsError, StateRefused, StateUnavailable
from ingest.model import Lease
from ingest.state.commands import Commands
from ingest.state.connect import broker_url, connect, persistence, translated
from ingest.state.ledger import RedisLedger
from ingest.state.schedule import Schedule
from tests.fakes.mail_values import commitment, mailbox
from tests.servers.valkey import make_whole, valkey_client, valkey_server


@pytest.mark.parametrize(
    "url", ["", "localhost:6379", "http://h", "redis://", "unix://", "rediss:", "redis://[x"]
)
def test_a_url_that_names_no_redis_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        connect(url)
    assert "redis://HOST:6379/0" in caught.value.remedy


def test_a_port_that_is_none_is_refused_without_showing_the_password() -> None:
    with pytest.raises(SettingsError) as caught:
        connect("redis://:s3cret@host:port/0")
    assert "s3cret" not in f"{caught.value} {caught.value.remedy}"


def test_celery_gets_a_socket_in_its_own_spelling() -> None:
    url = broker_url("unix:///var/lib/mail/valkey.sock?db=3")
    assert url == "redis+socket:///var/lib/mail/valkey.sock?virtual_host=3"
    assert broker_url("redis://:pw@host:6379/1") == "redis://:pw@host:6379/1"


def test_celery_reaches_the_server_by_that_spelling() -> None:
    with valkey_server() as server, Connection(broker_url(server.url)) as connection:
        connection.ensure_connection(max_retries=1, timeout=5)
        assert connection.connected


def test_celery_verifies_the_certificate_unless_told_otherwise() -> None:
    assert broker_url("rediss://host/0") == "rediss://host/0?ssl_cert_reqs=required"
    told = broker_url("rediss://host/0?ssl_cert_reqs=none")
    assert told == "rediss://host/0?ssl_cert_reqs=none"


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(StateUnavailable) as caught:
        Commands(connect("unix:///nonexistent/socket")).run("PING")
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (redis.exceptions.BusyLoadingError("is loading"), StateUnavailable, "loading"),
        (redis.exceptions.ReadOnlyError("can't write"), StateRefused, "replica"),
        (redis.exceptions.NoPermissionError("x"), StateRefused, "right"),
        (redis.exceptions.AuthenticationError("invalid"), StateRefused, "refuses the password"),
        (redis.exceptions.AuthenticationError("Authentication required."), StateRefused, "wants"),
        (redis.exceptions.ResponseError("MISCONF Errors writing"), StateRefused, "disk"),
        (redis.exceptions.ResponseError("unknown command 'X'"), StateRefused, "too old"),
        (
            redis.exceptions.ResponseError("Error running script: @user_script:1: -OOM command"),
            StateRefused,
            "memory",
        ),
        (redis.exceptions.TimeoutError("Timeout reading"), StateUnavailable, "in time"),
        (redis.exceptions.ResponseError("NOREPLICAS Not enough"), StateUnavailable, "replicas"),
        (ConnectionResetError(104, "reset"), StateUnavailable, "reset"),
        (redis.exceptions.ResponseError("BUSYGROUP exists"), StateRefused, "BUSYGROUP"),
    ],
)
def test_each_failure_has_its_meaning(error: Exception, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as caught, translated():
        raise error
    assert words in str(caught.value)


def test_a_missing_password_and_a_wrong_one_are_told_apart() -> None:
    with valkey_server("--save", "") as server:
        admin = connect(server.url)
        admin.config_set("requirepass", "right")
        with pytest.raises(StateRefused, match="wants a password"):
            Commands(connect(server.url)).run("GET", "x")
        wrong = server.url.replace("unix://", "unix://:wrong@")
        with pytest.raises(StateRefused, match="refuses the password"):
            Commands(connect(wrong)).run("GET", "x")
        right = server.url.replace("unix://", "unix://:right@")
        assert Commands(connect(right)).run("SET", "x", "1")


def test_out_of_memory_a_batch_is_refused_whole(client: Redis) -> None:
    make_whole(client)
    lease = Schedule(client).claim_mailbox(mailbox(), 60)
    assert lease
    batch = [commitment(f"message {n}", f"u{n}") for n in range(50)]
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(StateRefused, match="out of memory"):
            RedisLedger(client).commit(lease, batch)
    finally:
        client.config_set("maxmemory", "0")
    assert client.keys("mail-ingest:outbox") == []
    assert RedisLedger(client).known(lease.mailbox, ["u0"]) == {}
    assert RedisLedger(client).commit(lease, batch) == 50


def test_a_server_that_forgot_our_scripts_gets_them_again(client: Redis) -> None:
    schedule = Schedule(client)
    assert schedule.release(Lease("m", "g", "i"), 0) is False
    client.script_flush()
    assert schedule.release(Lease("m", "g", "i"), 0) is False


def test_the_durable_server_is_said_to_be_durable(client: Redis) -> None:
    told = persistence(client)
    assert told.kind == "always"
    assert told.warnings == ()
    assert told.run_id
    assert "before it answers" in told.sentence


def test_a_server_that_keeps_nothing_and_evicts_gets_two_warnings() -> None:
    with valkey_client("--appendonly", "no", "--maxmemory-policy", "allkeys-lru") as client:
        told = persistence(client)
    assert told.kind == "none"
    assert ["appendonly" in told.warnings[0], "noeviction" in told.warnings[1]] == [True, True]


def test_snapshots_and_lazy_logs_say_what_can_be_lost() -> None:
    with valkey_client("--appendfsync", "everysec") as client:
        assert persistence(client).kind == "everysec"
        client.config_set("appendonly", "no")
        client.config_set("save", "60 1")
        assert persistence(client).kind == "rdb"


def test_a_managed_server_that_hides_its_configuration_is_no_failure() -> None:
    with valkey_server() as server:
        admin = connect(server.url)
        admin.execute_command("ACL SETUSER app on >pw ~mail-ingest:* +@all -config")  # type: ignore[no-untyped-call]  # theirs
        client = connect(server.url.replace("unix://", "unix://app:pw@"))
        assert persistence(client).kind == "aof"
        admin.config_set("appendonly", "no")  # it may have snapshots, and does not say
        assert persistence(client).kind == "rdb"
        assert persistence(client).warnings == ()


def test_a_server_too_old_is_refused(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    info = client.info()
    monkeypatch.setattr(client, "info", lambda: {**info, "redis_version": "6.0.16"})
    with pytest.raises(StateRefused, match=r"6\.0\.16 is too old"):
        persistence(client)
