"""What goes wrong in use: one clear line, its exit code, and no server loses a message."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from base64 import encodebytes
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from ingest.bootstrap import open_application
from ingest.cli.sign_in import register
from ingest.model import Mailbox
from ingest.settings import from_environment
from ingest.state.connect import connect
from ingest.state.embedded import EmbeddedValkey
from ingest.state.registry import new_mailbox_id
from tests.servers.dovecot import PASSWORD, Dovecot, Maildrop
from tests.servers.small_disk import SmallDisk, small_disk
from tests.servers.valkey import Valkey, valkey_server

MESSAGE = b"Subject: the one that counts\r\n\r\nIt must stay.\r\n"
ROOM = 512 * 1024
SECONDS = 60.0

# Where nobody may mount a disk, the first is the second.
full_disks = pytest.mark.parametrize("mountable", [True, False], ids=["disk", "limit"])


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever the command printed
        return json.loads(self.out)


class Ingest:
    """`ingest` as a person runs it, with one home and one environment."""

    def __init__(self, home: Path, dovecot: Dovecot) -> None:
        self.environment = {
            name: text for name, text in os.environ.items() if not name.startswith("INGEST_")
        } | {"INGEST_HOME": str(home), "INGEST_METRICS_PORT": "0", "POP_PASSWORD": PASSWORD}
        self._dovecot = dovecot

    def __call__(
        self,
        *words: str,
        disk: SmallDisk | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> Result:
        variables = {**self.environment, **environment}
        if disk:  # where there is no room for coverage's figures either
            variables = {
                name: text for name, text in variables.items() if not name.startswith("COVERAGE_")
            }
        done = subprocess.run(
            self.arguments(*words, disk=disk),
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def arguments(self, *words: str, disk: SmallDisk | None = None) -> list[str]:
        arguments = [sys.executable, "-m", "ingest.cli", *words]
        return disk.command(*arguments) if disk else arguments

    def add(
        self, maildrop: Maildrop, host: str = "localhost", port: int = 0, *, trusted: bool = True
    ) -> None:
        """Keep a mailbox named as its user, without trying it out."""
        mailbox = Mailbox(
            id=new_mailbox_id(),
            name=maildrop.name,
            host=host,
            port=port or self._dovecot.pop3s_port,
            username=maildrop.name,
            password="env:POP_PASSWORD",
            ca_file=str(self._dovecot.ca_file) if trusted else "",
        )
        with open_application(from_environment(self.environment)) as application:
            register(application, mailbox)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One home, whose Valkey runs all the time: it takes a while to come up and to end."""
    home = tmp_path_factory.mktemp("bad") / "home"
    with EmbeddedValkey(home / "valkey"):
        yield home


@pytest.fixture
def ingest(home: Path, dovecot: Dovecot) -> Ingest:
    return Ingest(home, dovecot)


def assert_plain(done: Result, code: int, says: str, advises: str) -> None:
    """One line that says what happened, and one that says what to do."""
    assert done.code == code, done
    what, remedy = done.err.splitlines()
    assert what.startswith("error: ")
    assert says in what
    assert remedy.startswith("  → ")
    assert advises in remedy


def stored(ingest: Ingest, name: str) -> set[str]:
    """The hashes of the octets that a mailbox's messages are given back with."""
    hashes = set()
    for each in ingest("message", "list", "--mailbox", name, "--json").json:
        words = ingest.arguments("message", "cat", each["id"])
        given = subprocess.run(words, env=ingest.environment, capture_output=True, check=True)
        hashes.add(hashlib.sha256(given.stdout).hexdigest())
    return hashes


# Disks that are full


def large_messages() -> list[bytes]:
    """One that is small, one with a large attachment, and one that is a large text."""
    noise = random.Random(1)
    attachment = encodebytes(noise.randbytes(1_000_000)).replace(b"\n", b"\r\n")
    head = (
        b"Subject: large\r\nContent-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n"
    )
    text = b"".join(b"%x\r\n" % noise.getrandbits(250) for _ in range(20_000))
    return [MESSAGE, head + b"\r\n" + attachment, b"Subject: long\r\n\r\n" + text]


@pytest.mark.parametrize(
    ("which", "mountable"), [([0, 1], True), ([2], False)], ids=["attachment-disk", "text-limit"]
)
def test_a_message_that_finds_no_room_stays_on_its_server_until_there_is_some(
    ingest: Ingest, maildrop: Maildrop, valkey: Valkey, which: list[int], *, mountable: bool
) -> None:
    sent = [large_messages()[each] for each in which]
    maildrop.deliver_many(sent)
    with small_disk(ROOM, mountable=mountable) as disk:
        store = disk.path / "store"
        ingest.environment |= {"INGEST_REDIS_URL": valkey.url, "INGEST_STORE": store.as_uri()}
        ingest.add(maildrop)

        done = ingest("poll", maildrop.name, disk=disk)

        assert_plain(
            done,
            7,
            "no space left on device" if disk.mounted else "file too large",
            "free space there, or point INGEST_STORE elsewhere" if disk.mounted else "ulimit -f",
        )
        assert maildrop.messages() == sent
        assert list((store / ".uploads").iterdir()) == []

        disk.make_room()
        assert ingest("poll", maildrop.name, disk=disk).code == 0
        assert maildrop.messages() == []
        assert stored(ingest, maildrop.name) == {hashlib.sha256(each).hexdigest() for each in sent}
        assert list((store / ".uploads").iterdir()) == []


@full_disks
def test_doctor_says_that_nothing_can_be_written(
    ingest: Ingest, valkey: Valkey, *, mountable: bool
) -> None:
    with small_disk(ROOM, mountable=mountable) as disk:
        store = (disk.path / "store").as_uri()
        ingest.environment |= {"INGEST_REDIS_URL": valkey.url, "INGEST_STORE": store}
        little = ingest("doctor", disk=disk)
        disk.fill(0)
        none = ingest("doctor", "--json", disk=disk)

    assert little.code == 0
    if disk.mounted:
        assert "!   store      only 524.3 kB are free on the disk of" in little.out
    assert none.code == 7
    (finding,) = [each for each in none.json if each["verdict"] == "wrong"]
    assert finding["subject"] == "store"
    assert finding["remedy"]


@full_disks
def test_an_embedded_valkey_without_room_deletes_nothing_until_there_is_some(
    dovecot: Dovecot, maildrop: Maildrop, tmp_path: Path, *, mountable: bool
) -> None:
    sent = [b"Subject: %d\r\n\r\nbody\r\n" % number for number in range(40)]
    maildrop.deliver_many(sent)
    with small_disk(8_000_000, mountable=mountable) as disk:
        ingest = Ingest(disk.path / "home", dovecot)
        ingest.environment["INGEST_STORE"] = (tmp_path / "store").as_uri()
        ingest.environment["INGEST_LEASE_SECONDS"] = "1"  # it can't be given back
        ingest.add(maildrop)
        disk.fill(0 if disk.mounted else 4096)  # so little that it can start, but not go on

        done = ingest("poll", maildrop.name, disk=disk)

        assert_plain(
            done,
            8,
            f"the disk of {disk.path / 'home' / 'valkey'} is full" if disk.mounted else "ended",
            "free space there" if disk.mounted else "read ",
        )
        assert maildrop.messages() == sent

        disk.make_room()
        eventually(lambda: ingest("poll", maildrop.name).code == 0)
        assert maildrop.messages() == []
        events = ingest("events", "tail", "--from-start", "--no-follow", "--json").out.splitlines()
        assert len({json.loads(event)["id"] for event in events}) == len(events) == len(sent)


# A Redis that can't keep what it is told


@contextlib.contextmanager
def redis_that_can_not_save() -> Iterator[str]:
    """The URL of one whose snapshot failed: it takes no more writes."""
    with valkey_server("--appendonly", "no", "--dbfilename", "taken") as server:
        (server.directory / "taken").mkdir()
        yield server.url


def let_it_fail_to_save(url: str) -> None:
    with contextlib.closing(connect(url)) as client:
        client.config_set("save", "3600 1")
        client.bgsave()
        eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def test_a_redis_that_can_not_write_to_its_disk_deletes_nothing(
    ingest: Ingest, maildrop: Maildrop
) -> None:
    maildrop.deliver(MESSAGE)
    with redis_that_can_not_save() as url:
        ingest.environment["INGEST_REDIS_URL"] = url
        ingest.add(maildrop)
        let_it_fail_to_save(url)

        done = ingest("poll", maildrop.name)
        found = ingest("doctor")

    assert_plain(done, 8, "Redis can't write to its disk", "free its disk")
    assert maildrop.messages() == [MESSAGE]
    assert found.code == 8
    assert "WRONG  redis      Redis can't write to its disk" in found.out


def test_a_redis_that_keeps_nothing_is_told_of_and_worked_with(
    ingest: Ingest, maildrop: Maildrop, tmp_path: Path
) -> None:
    with valkey_server("--save", "", "--appendonly", "no") as server:
        ingest.environment |= {"INGEST_REDIS_URL": server.url, "INGEST_POLL_SECONDS": "1"}
        ingest.add(maildrop)

        found = ingest("doctor", "--json")
        maildrop.deliver(MESSAGE)
        polled = ingest("poll", maildrop.name)
        assert maildrop.messages() == []
        maildrop.deliver(MESSAGE)
        with running(ingest, "worker", tmp_path) as log, running(ingest, "beat", tmp_path):
            eventually(lambda: maildrop.count() == 0)

    assert found.code == 0
    warnings = [each for each in found.json if each["verdict"] != "ok"]
    assert [(each["message"], each["remedy"]) for each in warnings] == [
        ("this Redis keeps nothing through a restart", "turn on appendonly"),
        (
            "none was seen within the last minute; no mailbox is overdue",
            "run a worker and a beat: ingest worker, ingest beat",
        ),
    ]
    assert polled.code == 0
    said = [line for line in log.read_text().splitlines() if "redis_may_forget" in line]
    assert [json.loads(line)["reason"] for line in said] == [
        "this Redis keeps nothing through a restart: turn on appendonly"
    ]


@contextlib.contextmanager
def running(ingest: Ingest, name: str, directory: Path) -> Iterator[Path]:
    """A worker or a beat, and the file that its log goes to."""
    path = directory / f"{name}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            ingest.arguments(name), env=ingest.environment, stdout=log, stderr=log
        )
    try:
        yield path
    finally:
        process.terminate()
        code = process.wait(SECONDS)
    assert code == 0, path.read_text()


# Settings and addresses that are wrong


class Wrong(NamedTuple):
    """A setting, and what is said of it."""

    environment: Mapping[str, str]
    code: int
    says: str
    advises: str


NOBODY = "127.0.0.1:1"  # no server listens there
NO_KEY = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
KEY = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}

WRONG_SETTINGS = {
    "name": Wrong({"INGEST_STOER": "x"}, 3, "unknown setting INGEST_STOER", "README"),
    "keys": Wrong({"INGEST_KEYS": "x"}, 3, "keys that seal passwords is malformed", "INGEST_KEYS"),
    "store": Wrong({"INGEST_STORE": "ftp://x"}, 3, "INGEST_STORE can't be used", "s3://bucket"),
    "file": Wrong({"INGEST_STORE": Path(__file__).as_uri()}, 7, "store", "INGEST_STORE"),
    "credentials": Wrong(
        {"INGEST_STORE": "s3://bucket"} | NO_KEY,
        7,
        "no credentials for bucket",
        "AWS_ACCESS_KEY_ID",
    ),
    "redis": Wrong(
        {"INGEST_REDIS_URL": f"redis://{NOBODY}"}, 8, "can't be reached", "check its URL"
    ),
    "password": Wrong({"POP_PASSWORD": ""}, 4, "POP_PASSWORD", "set POP_PASSWORD"),
}


@pytest.fixture(scope="module")
def installed(home: Path, dovecot: Dovecot) -> tuple[Ingest, Maildrop]:
    """One mailbox with one message, which no test may take away."""
    ingest = Ingest(home, dovecot)
    maildrop = dovecot.add_user("installed")
    maildrop.deliver(MESSAGE)
    ingest.add(maildrop)
    return ingest, maildrop


@pytest.mark.parametrize("what", WRONG_SETTINGS)
def test_a_wrong_setting_is_named_and_nothing_is_deleted(
    installed: tuple[Ingest, Maildrop], what: str
) -> None:
    ingest, maildrop = installed
    wrong = WRONG_SETTINGS[what]

    done = ingest("poll", maildrop.name, environment=wrong.environment)

    assert_plain(done, wrong.code, wrong.says, wrong.advises)
    assert maildrop.messages() == [MESSAGE]


def test_a_redis_url_that_names_another_server_is_told_of(
    installed: tuple[Ingest, Maildrop], dovecot: Dovecot
) -> None:
    ingest, maildrop = installed

    other = {"INGEST_REDIS_URL": f"redis://{dovecot.host}:{dovecot.pop3_port}"}

    done = ingest("poll", maildrop.name, environment=other)

    assert_plain(done, 8, "Redis can't be reached", "check its URL")
    assert maildrop.messages() == [MESSAGE]


def test_doctor_does_not_wait_for_a_store_that_is_not_there(
    installed: tuple[Ingest, Maildrop],
) -> None:
    ingest, _ = installed
    store = {"INGEST_STORE": "s3://bucket", "INGEST_S3_ENDPOINT": f"http://{NOBODY}"}

    found = ingest("doctor", "--json", environment=store | KEY)

    assert found.code == 7
    (finding,) = [each for each in found.json if each["subject"] == "store"]
    assert NOBODY in finding["message"]
    assert "INGEST_S3_ENDPOINT" in finding["remedy"]


WRONG_ADDRESSES = {
    "host": ("pop.invalid", "tls", 5, "the host name does not resolve", "typing errors"),
    "port": ("localhost", "none", 5, "the connection was refused", "check host and port"),
    "plain": ("localhost", "plain", 5, "does not speak TLS on this port", "port 995"),
    "certificate": ("localhost", "tls", 5, "certificate", "CA file"),
    "password": ("localhost", "tls", 6, "to user name and password", "check both"),
}


@pytest.mark.parametrize("what", WRONG_ADDRESSES)
def test_a_wrong_address_or_password_names_the_mailbox_and_nothing_is_deleted(
    ingest: Ingest, maildrop: Maildrop, dovecot: Dovecot, what: str
) -> None:
    host, port, code, says, advises = WRONG_ADDRESSES[what]
    maildrop.deliver(MESSAGE)
    ports = {"plain": dovecot.pop3_port, "tls": dovecot.pop3s_port, "none": 1}
    ingest.add(maildrop, host, ports[port], trusted=what != "certificate")
    if what == "password":
        ingest.environment["POP_PASSWORD"] = "guessed"

    done = ingest("poll", maildrop.name)

    assert_plain(done, code, says, advises)
    assert f"mailbox '{maildrop.name}'" in done.err
    assert "guessed" not in done.err
    assert maildrop.messages() == [MESSAGE]
