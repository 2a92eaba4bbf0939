"""`ingest canary`: what it asks for, refuses, keeps and shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ingest.bootstrap import Application
from ingest.cli.sign_in import register
from ingest.model import Mailbox, Submission
from ingest.state.secrets import new_key
from tests.fakes.mail_values import mailbox
from tests.servers.certificates import make_certificates
from tests.servers.smtp import PASSWORD, USERNAME, SmtpServer, smtp_server
from tests.unit.cli.conftest import Ingest


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmtpServer]:
    monkeypatch.setenv("RIGHT", PASSWORD)
    monkeypatch.setenv("WRONG", "guessed")
    with smtp_server(make_certificates(tmp_path)) as running:
        yield running


@pytest.fixture
def seen(application: Application) -> Mailbox:
    """The mailbox `a` as it is before."""
    one = mailbox("a")
    register(application, one)
    return one


def kept(application: Application) -> Submission | None:
    return application.registry.get("mb-a").canary


def words(server: SmtpServer, tmp_path: Path, reference: str = "env:RIGHT") -> list[str]:
    url = f"smtp://probe%40example.org@localhost:{server.port}/?to=a+probe@example.org"
    return [
        "canary",
        "set",
        "a",
        url,
        "--password-ref",
        reference,
        "--ca-file",
        f"{tmp_path}/ca.pem",
    ]


def test_a_mailbox_becomes_a_canary_once_a_probe_was_taken(
    seen: Mailbox, application: Application, ingest: Ingest, server: SmtpServer, tmp_path: Path
) -> None:
    done = ingest(*words(server, tmp_path), "--json")
    assert done.code == 0
    assert done.err == "localhost took a probe\n"
    assert len(server.messages) == 1
    assert kept(application) == Submission(
        host="localhost",
        port=server.port,
        username=USERNAME,
        password="env:RIGHT",
        ca_file=f"{tmp_path}/ca.pem",
        sender=USERNAME,
        recipient="a+probe@example.org",
    )
    [canary] = done.json
    assert canary.items() >= {"name": "a", "password": "env:RIGHT", "under_way": 1}.items()
    assert canary["sent_at"]
    application.canaries.take_turn("mb-a")
    assert not application.canaries.due()
    assert ingest(*words(server, tmp_path)).code == 0
    assert application.canaries.due() == ["mb-a"]
    rest = msgspec.structs.replace(application.registry.get("a"), canary=None)
    assert rest == seen


@pytest.mark.usefixtures("seen")
def test_the_first_probe_is_known_for_one_though_it_comes_home_at_once(
    application: Application, ingest: Ingest, server: SmtpServer, tmp_path: Path
) -> None:
    recognised = list[bool]()
    server.deliver = lambda _: recognised.append(
        application.canaries.recognition(application.registry.get("mb-a")) is not None
    )
    assert ingest(*words(server, tmp_path)).code == 0
    assert recognised == [True]


@pytest.mark.usefixtures("seen")
def test_nothing_is_saved_where_no_probe_was_taken_unless_that_is_asked_for(
    application: Application, ingest: Ingest, server: SmtpServer, tmp_path: Path
) -> None:
    refused = ingest(*words(server, tmp_path, "env:WRONG"))
    assert refused.code == 6
    assert "'a'" in refused.err
    assert "mb-a" not in refused.err
    assert "guessed" not in refused.err
    assert kept(application) is None
    assert ingest(*words(server, tmp_path, "env:WRONG"), "--no-test").code == 0
    assert kept(application)


@pytest.mark.usefixtures("seen")
def test_a_password_is_asked_for_and_sealed_and_resealed_with_the_mailboxs_own(
    application: Application,
    ingest: Ingest,
    server: SmtpServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda _: PASSWORD)
    arguments = words(server, tmp_path)
    done = ingest(*arguments[:4], *arguments[6:], "--json")
    assert done.json[0]["password"] == "sealed"
    before = kept(application)
    assert before
    assert application.keyring.reveal(before.password, "mb-a") == PASSWORD

    old = (tmp_path / "keys").read_text().strip()
    new = new_key()
    monkeypatch.setenv("INGEST_KEYS", f"{new},{old}")
    assert ingest("mailbox", "reseal").out == "1 password is sealed with the first key\n"
    monkeypatch.setenv("INGEST_KEYS", new)
    assert ingest("canary", "send", "a").code == 0
    assert len(server.messages) == 2


@pytest.mark.usefixtures("seen")
def test_a_canary_is_listed_with_what_it_was_sent_and_what_came_home(
    application: Application, ingest: Ingest, server: SmtpServer, tmp_path: Path
) -> None:
    assert ingest("canary", "list").out.startswith("no canary yet")
    ingest(*words(server, tmp_path), "--no-test")
    assert ingest("canary", "list").out.splitlines()[1].split()[-5:-1].count("never") == 2
    ingest("canary", "send", "a")
    assert application.canary_state.come_home("mb-a", "p", 1_800_000_000) == "stray"
    application.canary_state.expect("mb-a", "p", 1_799_999_990)
    application.canary_state.come_home("mb-a", "p", 1_800_000_000)
    [[canary]] = ingest("canary", "list", "--json").json
    assert canary["home_at"] == "2027-01-15T08:00:00Z"
    assert canary["under_way"] == 1
    assert "never" not in ingest("canary", "list").out


@pytest.mark.usefixtures("seen")
def test_a_canary_that_is_removed_stays_a_mailbox_and_gets_nothing(
    application: Application, ingest: Ingest, server: SmtpServer, tmp_path: Path
) -> None:
    ingest(*words(server, tmp_path))
    assert ingest("canary", "remove", "a").out == "a gets no more probes\n"
    assert kept(application) is None
    assert not application.canaries.due()
    assert not application.canary_state.awaited()
    for command in ("remove", "send"):
        refused = ingest("canary", command, "a")
        assert refused.code == 4
        assert "is no canary" in refused.err


def test_probes_that_pile_up_are_announced(
    seen: Mailbox, application: Application, ingest: Ingest, server: SmtpServer, tmp_path: Path
) -> None:
    application.registry.update(msgspec.structs.replace(seen, delete="never"), seen=seen)
    assert "pile up" in ingest(*words(server, tmp_path), "--no-test").err


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["smtp://u:hunter2@localhost"], "password in the address"),
        (["smtp://u@localhost/?to=x@y.example"], "add --password-ref"),
        (["smtp://localhost", "--password-ref", "env:X"], "names no user"),
        (["smtp://u@localhost", "--password-ref", "hunter2"], "is env:NAME"),
        (["pop3s://u@localhost"], "no address of an SMTP server"),
    ],
)
def test_what_can_not_be_meant_is_wrong_usage(
    ingest: Ingest, arguments: list[str], said: str
) -> None:
    done = ingest("canary", "set", "a", *arguments)
    assert done.code == 2
    assert said in done.err
    assert "hunter2" not in done.err


@pytest.mark.usefixtures("seen")
def test_a_canary_whose_mailbox_is_forgotten_is_forgotten(
    application: Application, ingest: Ingest, server: SmtpServer, tmp_path: Path
) -> None:
    ingest(*words(server, tmp_path))
    assert f"canary        smtp://probe%40example.org@localhost:{server.port}/?to=a+probe@" in (
        ingest("mailbox", "show", "a").out
    )
    assert ingest("mailbox", "remove", "a", "--yes").code == 0
    assert not application.canary_state.hosts()
    assert not application.canary_state.awaited()


@pytest.mark.usefixtures("home")
def test_an_unknown_mailbox_is_no_canary(ingest: Ingest) -> None:
    assert ingest("canary", "set", "a", "smtp://localhost/?to=a@b.example").code == 4


@pytest.mark.usefixtures("seen")
def test_a_password_that_is_nowhere_names_the_command_that_enters_it_anew(
    ingest: Ingest, server: SmtpServer, tmp_path: Path
) -> None:
    done = ingest(*words(server, tmp_path, "env:NOT_SET_ANYWHERE"))
    assert done.code == 4
    assert "ingest canary set a" in done.err


@pytest.mark.usefixtures("seen")
def test_without_encryption_that_is_said(
    ingest: Ingest, server: SmtpServer, application: Application
) -> None:
    url = f"smtp://localhost:{server.port}/?to=a@b.example"
    done = ingest("canary", "set", "a", url, "--plaintext")
    assert done.code == 0
    assert "warning: without encryption" in done.err
    assert application.canaries.due()
    assert len(server.messages) == 1
