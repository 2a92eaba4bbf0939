"""The command line against real parts: a POP3 server, an embedded Valkey, a directory store."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from ingest.bootstrap import open_application
from ingest.cli import app
from ingest.cli.demo.messages import maildrops
from ingest.cli.demo.server import DemoServer
from ingest.events.schema import INGESTED, REHEARSED
from ingest.settings import from_environment
from ingest.state.presence import Presence
from ingest.state.secrets import new_key
from tests.servers import dovecot as dovecot_package
from tests.servers.dovecot import Dovecot, Maildrop

PASSWORD = "sesame"


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever the command printed
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DemoServer]:
    with DemoServer(maildrops(), password=PASSWORD, directory=tmp_path) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("INGEST_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("INGEST_HOME", str(home))
    monkeypatch.setenv("INGEST_METRICS_PORT", "0")
    monkeypatch.setenv("INGEST_POLL_SECONDS", "1")
    monkeypatch.setenv("INGEST_POLL_SECONDS_MAX", "2")
    monkeypatch.setenv("POP_PASSWORD", PASSWORD)
    return home


@pytest.fixture
def run(home: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Iterator[Run]:
    """Runs `ingest` in this process."""
    del home
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def ingest(*words: str) -> Result:
        code = app.run(list(words))
        captured = capsysbinary.readouterr()
        return Result(code, captured.out.decode(), captured.err.decode())

    yield ingest
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def add(run: Run, server: DemoServer) -> Run:
    """Adds the mailbox of a user of the server, by that name."""

    def ingest(user: str, *words: str) -> Result:
        address = f"pop3s://{user}@localhost:{server.port}"
        trust = ("--ca-file", str(server.certificate))
        password = () if "--password-ref" in words else ("--password-ref", "env:POP_PASSWORD")
        return run("mailbox", "add", user, address, *trust, *password, "--yes", *words)

    return ingest


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.1)


def test_a_mailbox_is_tested_before_it_is_kept_and_the_warning_is_plain(add: Run, run: Run) -> None:
    done = add("orders")

    assert done.code == 0
    assert "signed in: 11 messages" in done.err
    assert "WILL BE DELETED from the server" in done.err
    assert "orders is polled" in done.out
    (kept,) = run("mailbox", "list", "--json").json
    assert kept["name"] == "orders"
    assert kept["password"] == "env:POP_PASSWORD"
    assert kept["delete"] == "committed"


def test_nothing_is_kept_when_sign_in_is_refused(
    add: Run, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POP_PASSWORD", "guessed")

    done = add("orders")

    assert done.code == 6
    assert "'orders'" in done.err
    assert "guessed" not in done.err
    assert run("mailbox", "list", "--json").json == []


def test_nothing_is_kept_when_the_certificate_can_not_be_trusted(
    run: Run, server: DemoServer
) -> None:
    address = f"pop3s://orders@localhost:{server.port}"

    done = run("mailbox", "add", "o", address, "--password-ref", "env:POP_PASSWORD", "--yes")

    assert done.code == 5
    assert "certificate" in done.err
    assert run("mailbox", "list", "--json").json == []


def test_nothing_is_kept_without_a_confirmation(run: Run, server: DemoServer) -> None:
    address = f"pop3s://orders@localhost:{server.port}"
    words = ("--password-ref", "env:POP_PASSWORD", "--ca-file", str(server.certificate))

    done = run("mailbox", "add", "orders", address, *words)

    assert done.code == 2
    assert "--yes" in done.err
    assert run("mailbox", "list", "--json").json == []


def test_no_test_keeps_a_mailbox_whose_server_is_down(run: Run) -> None:
    words = ("--password-ref", "env:POP_PASSWORD", "--no-test", "--yes", "--json")

    done = run("mailbox", "add", "later", "pop3s://a%40b.example@pop.example", *words)

    assert done.code == 0
    assert done.json["address"] == "pop3s://a%40b.example@pop.example"
    assert done.json["username"] == "a@b.example"


def test_a_password_that_is_typed_is_sealed_and_never_shown(
    add: Run, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda _: PASSWORD)

    done = add("orders", "--password-ref", "")

    assert done.code == 0
    assert run("mailbox", "show", "orders", "--json").json["password"] == "sealed"
    assert run("mailbox", "test", "orders", "--json").json["messages"] == 11
    stored = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    assert not any(PASSWORD.encode() in octets for octets in stored)


def test_passwords_sealed_anew_need_the_old_key_no_longer(
    add: Run, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = new_key(), new_key()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda _: PASSWORD)
    monkeypatch.setenv("INGEST_KEYS", old)
    for user in ("orders", "support"):
        add(user, "--password-ref", "")
    add("invoices")

    monkeypatch.setenv("INGEST_KEYS", new)
    lost = run("mailbox", "reseal")
    assert lost.code == 4
    assert lost.out == "0 passwords are sealed with the first key\n"
    assert lost.err.count("error: no key opens the sealed password of mailbox") == 2
    assert "'support'" in lost.err

    monkeypatch.setenv("INGEST_KEYS", f"{new},{old}")
    assert run("mailbox", "reseal", "--json").json == {"resealed": 2}
    monkeypatch.setenv("INGEST_KEYS", new)
    assert {run("mailbox", "test", user).code for user in ("orders", "support", "invoices")} == {0}


def test_a_name_is_given_once(add: Run) -> None:
    assert add("orders").code == 0

    again = add("orders")

    assert again.code == 4
    assert "'orders'" in again.err


def test_commands_know_the_mailboxes_also_where_redis_has_lost_them(add: Run, run: Run) -> None:
    assert add("orders").code == 0
    assert run("poll", "orders").code == 0
    shown = run("mailbox", "show", "orders", "--json").json
    with open_application(from_environment()) as application:
        application.redis.flushall()

    assert [one["name"] for one in run("mailbox", "list", "--json").json] == ["orders"]
    assert add("orders").code == 4
    assert run("mailbox", "show", "orders", "--json").json["id"] == shown["id"]
    assert run("mailbox", "remove", "orders", "--yes").code == 0
    assert run("mailbox", "list", "--json").json == []


def test_a_store_that_lost_what_redis_knows_is_a_finding_and_no_command_acts_on_it(
    add: Run, run: Run, home: Path
) -> None:
    add("orders")
    run("poll", "orders")
    (home / "store").rename(home / "elsewhere")

    doctor = run("doctor", "--json")

    assert doctor.code == 7
    assert any("checkpoint.json" in finding["message"] for finding in doctor.json)
    assert run("poll", "orders").code == 7
    assert [one["name"] for one in run("mailbox", "list", "--json").json] == ["orders"]


def test_a_rule_that_keeps_messages_says_so(add: Run) -> None:
    done = add("orders", "--delete", "never")

    assert "Messages stay on the server." in done.err
    assert "DELETED" not in done.err


def test_poll_stores_deletes_and_publishes(add: Run, run: Run, server: DemoServer) -> None:
    add("orders")

    report = run("poll", "orders", "--json").json

    assert (report["listed"], report["committed"], report["deleted"]) == (11, 11, 11)
    assert server.waiting("orders") == ()
    again = run("poll", "orders")
    assert again.out.startswith("orders: nothing waits")
    lines = run("events", "tail", "--from-start", "--no-follow", "--json").out.splitlines()
    assert len(lines) == 11
    assert all(json.loads(line)["specversion"] == "1.0" for line in lines)


def test_poll_says_that_a_worker_is_at_it(add: Run, run: Run) -> None:
    add("orders")
    with open_application(from_environment()) as application:
        application.read_back.run_if_lost()
        mailbox = application.registry.get("orders")
        assert application.schedule.claim_mailbox(mailbox, 60)

        done = run("poll", "orders")

    assert done.code == 4
    assert "in a session already" in done.err


def test_what_is_stored_can_be_listed_shown_and_had_back(
    add: Run, run: Run, server: DemoServer, tmp_path: Path
) -> None:
    had = {hashlib.sha256(message.octets).hexdigest() for message in server.waiting("orders")}
    add("orders")
    run("poll", "orders")

    listed = run("message", "list", "--mailbox", "orders", "--json").json
    assert len(listed) == 11
    assert len(run("message", "list", "--limit", "3").out.splitlines()) == 4
    shown = [run("message", "show", each["id"], "--json").json for each in listed]
    assert {each["sha256"] for each in shown} == had

    dented = next(each["id"] for each in listed if "dented" in each["subject"])
    assert "parcel-2.png" in run("message", "show", dented[:10]).out
    original = next(each.octets for each in maildrops()["orders"] if b"dented" in each.octets[:400])
    assert run("message", "cat", dented).out.encode() == original
    saved = run("message", "save", dented, str(tmp_path / "parts"), "--json").json
    assert [Path(file["path"]).name for file in saved] == [
        "part-1.txt",
        "parcel-2.png",
        "parcel-3.png",
    ]
    assert (tmp_path / "parts" / "parcel-2.png").read_bytes().startswith(b"\x89PNG")


def test_a_paused_mailbox_is_not_polled_until_it_is_resumed(
    add: Run, run: Run, server: DemoServer
) -> None:
    add("orders")

    run("mailbox", "pause", "orders", "--reason", "moving house")
    assert "paused: moving house" in run("mailbox", "list").out
    refused = run("poll", "orders")
    assert (refused.code, len(server.waiting("orders"))) == (4, 11)
    run("mailbox", "resume", "orders")

    assert run("poll", "orders").code == 0
    assert server.waiting("orders") == ()


def test_a_mailbox_whose_sessions_fail_says_so_wherever_it_is_shown(
    add: Run, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = add("orders", "--json").json
    assert (added["state"], added["polled_at"]) == ("not polled yet", None)
    run("poll", "orders")
    (well,) = run("mailbox", "list", "--json").json
    assert well["state"].startswith("polled 20")
    assert (well["error"], well["failures"]) == ("", 0)
    monkeypatch.setenv("POP_PASSWORD", "guessed")
    assert [run("poll", "orders").code for _ in range(2)] == [6, 6]

    (failing,) = run("mailbox", "list", "--json").json
    assert (failing["error"], failing["failures"]) == ("sign_in", 2)
    assert failing["polled_at"] > well["polled_at"]
    for command in (("mailbox", "list"), ("mailbox", "show", "orders"), ("doctor",)):
        done = run(*command)
        assert done.code == 0
        assert "failed 2 times in a row: mailbox 'orders' at localhost" in done.out
        assert "guessed" not in done.out
    monkeypatch.setenv("POP_PASSWORD", PASSWORD)
    run("poll", "orders")
    assert "failed" not in run("mailbox", "list").out + run("doctor").out


def test_a_changed_mailbox_ends_its_rehearsal_and_ingests_for_real_under_the_same_id(
    run: Run, dovecot: Dovecot, maildrop: Maildrop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOVECOT_PASSWORD", dovecot_package.PASSWORD)
    maildrop.deliver_many(b"Subject: %d\r\n\r\nHello\r\n" % number for number in range(3))
    address = f"pop3s://{maildrop.name}@localhost:{dovecot.pop3s_port}"
    words = ("--password-ref", "env:DOVECOT_PASSWORD", "--ca-file", str(dovecot.ca_file))
    run("mailbox", "add", "orders", address, *words, "--delete", "shadow", "--yes")
    added = run("mailbox", "show", "orders", "--json").json
    rehearsed = run("poll", "orders", "--json").json
    assert (rehearsed["committed"], rehearsed["deleted"], maildrop.count()) == (3, 0, 3)

    wrong = ("--password-ref", "env:POP_PASSWORD", "--delete", "committed", "--yes")
    assert run("mailbox", "set", "orders", *wrong).code == 6
    unchanged = run("mailbox", "show", "orders", "--json").json
    assert (unchanged["password"], unchanged["delete"]) == ("env:DOVECOT_PASSWORD", "shadow")
    changed = run("mailbox", "set", "orders", "--delete", "committed", "--yes", "--json")

    assert "What was rehearsed is ingested anew, for real." in changed.err
    assert changed.json["id"] == added["id"]
    real = run("poll", "orders", "--json").json
    assert (real["committed"], real["deleted"], maildrop.count()) == (3, 3, 0)
    lines = run("events", "tail", "--from-start", "--no-follow", "--json").out.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["type"] for event in events] == [REHEARSED] * 3 + [INGESTED] * 3
    assert all(added["id"] in event["source"] for event in events)


def test_a_removed_mailbox_is_forgotten_and_its_messages_are_not(add: Run, run: Run) -> None:
    add("orders")
    run("poll", "orders")

    assert run("mailbox", "remove", "orders", "--yes").code == 0

    assert run("mailbox", "show", "orders").code == 4
    assert len(run("message", "list", "--json").json) == 11


def test_doctor_finds_nothing_wrong_where_nothing_is(add: Run, run: Run) -> None:
    add("orders")
    with open_application(from_environment()) as application:
        Presence(application.redis).show()

    done = run("doctor", "--json")

    assert done.code == 0
    assert {finding["verdict"] for finding in done.json} == {"ok"}
    subjects = {finding["subject"] for finding in done.json}
    assert subjects == {
        "settings",
        "redis",
        "store",
        "mailboxes",
        "workers",
        "events",
        "deletes",
    }


def test_doctor_says_which_setting_is_wrong(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_STORE", "ftp://elsewhere")

    done = run("doctor")

    assert done.code == 3
    assert "WRONG  settings" in done.out
    assert "→ use s3://" in done.out


def test_a_file_that_holds_no_keys_is_a_wrong_setting(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_bytes(b"\x80\xff\n")
    monkeypatch.setenv("INGEST_KEYS_FILE", str(tmp_path / "keys"))

    done = run("mailbox", "list")

    assert done.code == 3
    assert "keys that seal passwords is malformed" in done.err


def test_doctor_says_that_redis_can_not_be_reached_and_goes_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INGEST_REDIS_URL", f"unix://{tmp_path}/nobody.sock")

    done = run("doctor", "--json")

    assert done.code == 8
    verdicts = {finding["subject"]: finding["verdict"] for finding in done.json}
    assert verdicts["redis"] == "wrong"
    assert verdicts["store"] == "ok"


def test_doctor_says_whose_password_can_not_be_read(
    add: Run, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("orders")
    monkeypatch.delenv("POP_PASSWORD")

    done = run("doctor")

    assert done.code == 4
    assert "WRONG  mailbox orders" in done.out
    assert "set POP_PASSWORD" in done.out


def test_a_worker_without_redis_says_what_to_do(home: Path) -> None:
    del home
    done = subprocess.run(
        [sys.executable, "-m", "ingest.cli", "worker"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 8
    assert "ingest up" in done.stderr
    assert "Traceback" not in done.stderr


def test_up_polls_restarts_what_dies_and_leaves_nothing_behind(
    add: Run, run: Run, server: DemoServer, home: Path
) -> None:
    add("orders")
    log = home / "up.log"
    with log.open("wb") as output:
        up = subprocess.Popen(
            [sys.executable, "-m", "ingest.cli", "up"], stdout=output, stderr=output
        )
    try:
        eventually(lambda: server.waiting("orders") == ())
        (worker,) = _children(up.pid, " worker ")
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: _children(up.pid, " worker ") not in ([], [worker]))
        assert add("support").code == 0  # beside it, with the same Valkey
        eventually(lambda: server.waiting("support") == ())
        assert len(run("message", "list", "--json").json) == 20
    finally:
        up.terminate()
        code = up.wait(60)

    assert code == 0, log.read_text()
    assert "worker ended (signal SIGKILL)" in log.read_text()
    assert "superuser" not in log.read_text()
    assert _processes_of(home) == []


def test_up_goes_on_when_the_valkey_ends_or_the_command_that_started_it(
    add: Run, server: DemoServer, home: Path
) -> None:
    ingest = [sys.executable, "-m", "ingest.cli"]
    log = home.with_name("up.log")
    with log.open("wb") as output:
        tail = subprocess.Popen([*ingest, "events", "tail"], stdout=output, stderr=output)
        eventually(lambda: _valkey_of(home) != 0)
        up = subprocess.Popen([*ingest, "up"], stdout=output, stderr=output)
    try:
        eventually(lambda: "worker_started" in log.read_text())
        tail.send_signal(signal.SIGINT)
        tail.wait(60)
        assert add("orders").code == 0
        eventually(lambda: server.waiting("orders") == ())
        died = _valkey_of(home)
        os.kill(died, signal.SIGKILL)
        eventually(lambda: _valkey_of(home) not in (0, died))
        assert add("support").code == 0
        eventually(lambda: server.waiting("support") == ())
    finally:
        up.terminate()
        code = up.wait(60)

    assert code == 0, log.read_text()
    assert "the embedded Valkey ended" in log.read_text()
    assert _processes_of(home) == []


def _valkey_of(home: Path) -> int:
    """The process id of the home's Valkey; 0: there is none."""
    path = str(home / "valkey" / "valkey.sock")
    with contextlib.closing(Redis(unix_socket_path=path, retry=Retry(NoBackoff(), 0))) as client:
        try:
            told: Any = client.info("server")
        except RedisError:
            return 0
    return int(told["process_id"])


def _children(parent: int, words: str) -> list[int]:
    """The processes that `parent` started with these words among their arguments."""
    listed = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    rows = (line.split(maxsplit=2) for line in listed.stdout.splitlines())
    return [int(pid) for pid, ppid, args in rows if int(ppid) == parent and words in args]


def _processes_of(home: Path) -> list[str]:
    """Whoever has this home in its environment or arguments."""
    wanted = str(home).encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            continue
        if wanted in told and int(process.name) != os.getpid():
            found.append(process.name)
    return found
