"""What `mailbox set` changes, what it refuses, and what becomes of the schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from ingest.bootstrap import Application
from ingest.cli.sign_in import register
from ingest.model import Mailbox
from ingest.state.secrets import Keyring, new_key
from tests.fakes.mail_values import mailbox
from tests.fakes.pop3_server import PASSWORD, USERNAME, Pop3Server
from tests.unit.cli.conftest import Ingest

TypeIn = Callable[..., None]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pop3Server]:
    monkeypatch.setenv("RIGHT", PASSWORD)
    monkeypatch.setenv("WRONG", "guessed")
    with Pop3Server([("u1", b"Subject: one\r\n\r\n")]) as running:
        yield running


@pytest.fixture
def seen(application: Application, server: Pop3Server) -> Mailbox:
    """The mailbox `a` as it is before."""
    where = {"host": server.host, "port": server.port, "tls": "none", "username": USERNAME}
    one = msgspec.structs.replace(mailbox("a"), **where, password="env:RIGHT")
    register(application, one)
    return one


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> TypeIn:
    """Puts somebody at the terminal, who types a password after something else has happened."""

    def typed(password: str, first: Callable[[], object] = lambda: None) -> None:
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("getpass.getpass", lambda _: (first(), password)[1])

    return typed


def kept(application: Application) -> Mailbox:
    return application.registry.get("mb-a")


def test_name_tenant_and_rule_change_without_signing_in_and_the_rest_stays(
    seen: Mailbox, application: Application, ingest: Ingest, server: Pop3Server
) -> None:
    words = ("--rename", "b", "--tenant", "t", "--delete", "after  7d", "--yes", "--json")
    done = ingest("mailbox", "set", "a", *words)
    assert done.code == 0
    changed = {"name": "b", "tenant": "t", "delete": "after 7d"}
    assert done.json[0].items() >= {"id": "mb-a", **changed}.items()
    assert kept(application) == msgspec.structs.replace(seen, **changed)
    assert server.sessions == 0


def test_a_new_password_is_typed_tried_and_sealed(
    seen: Mailbox, application: Application, ingest: Ingest, type_in: TypeIn
) -> None:
    type_in(PASSWORD)
    done = ingest("mailbox", "set", "a", "--password")
    assert (done.code, done.out) == (0, "a is changed\n")
    assert done.err == "signed in: 1 message (16 B) waits\n"
    now = kept(application)
    assert now.password.startswith("sealed:")
    assert application.keyring.reveal(now.password, "mb-a") == PASSWORD
    assert msgspec.structs.replace(now, password=seen.password) == seen


def test_a_password_that_is_refused_changes_nothing_and_ends_no_session(
    seen: Mailbox, application: Application, ingest: Ingest
) -> None:
    lease = application.schedule.claim_mailbox(seen, 60)
    assert lease
    words = ("--password-ref", "env:WRONG", "--tenant", "t", "--delete", "never", "--yes")
    done = ingest("mailbox", "set", "a", *words)
    assert done.code == 6
    assert "'a'" in done.err
    assert "guessed" not in done.err
    assert kept(application) == seen
    assert not application.schedule.renew([lease], 60)


@pytest.mark.usefixtures("seen")
def test_without_a_test_nobody_signs_in(
    application: Application, ingest: Ingest, home: Path, server: Pop3Server
) -> None:
    words = ("--password-ref", f"file:{home}/secret", "--ca-file", f"{home}/ca.pem", "--no-test")
    assert ingest("mailbox", "set", "a", *words).code == 0
    now = kept(application)
    assert (now.password, now.ca_file) == (f"file:{home}/secret", f"{home}/ca.pem")
    assert ingest("mailbox", "set", "a", "--ca-file", "", "--no-test").code == 0
    assert kept(application).ca_file == ""
    assert server.sessions == 0


def test_a_new_address_is_signed_in_to_and_says_what_becomes_of_the_mail_there(
    seen: Mailbox, application: Application, ingest: Ingest
) -> None:
    with Pop3Server([], username="ana@example.org") as other:
        address = f"pop3://ana%40example.org@127.0.0.1:{other.port}"
        words = ("mailbox", "set", "a", "--address", address, "--plaintext")
        assert ingest(*words).code == 2
        assert kept(application) == seen
        done = ingest(*words, "--yes")
    assert done.code == 0
    assert done.err.splitlines() == [
        "warning: without encryption, the password and all mail can be read on the way",
        "signed in: no message waits",
        "Messages WILL BE DELETED from the server once they are stored.",
    ]
    changed = {"username": "ana@example.org", "port": other.port}
    assert kept(application) == msgspec.structs.replace(seen, **changed)


STORED = "Messages WILL BE DELETED from the server once they are stored."
TOO = "That goes for messages that were stored before, too."
STAY = "Messages stay on the server."
REAL = "What was rehearsed is ingested anew, for real."


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize(
    ("before", "rule", "said"),
    [
        ("never", "committed", [STORED, TOO]),
        ("committed", "after 3d", [STORED.replace("once", "3d after"), TOO]),
        (
            "never",
            "published",
            [STORED.replace("they are stored", "their events are accepted"), TOO],
        ),
        ("shadow", "committed", [STORED, REAL]),
        ("shadow", "never", [STAY, REAL]),
        ("committed", "never", [STAY]),
        ("never", "shadow", [f"{STAY[:-1]}, and their events are marked as a rehearsal."]),
        ("committed", "committed", [STORED]),
    ],
)
def test_a_rule_says_what_becomes_of_the_mail(
    ingest: Ingest, before: str, rule: str, said: list[str]
) -> None:
    ingest("mailbox", "set", "a", "--delete", before, "--yes")
    done = ingest("mailbox", "set", "a", "--delete", rule, "--yes", "--json")
    assert done.err.splitlines() == said
    assert done.json[0]["delete"] == rule


def test_a_rule_is_not_changed_without_a_confirmation(
    seen: Mailbox, application: Application, ingest: Ingest
) -> None:
    done = ingest("mailbox", "set", "a", "--delete", "never")
    assert done.code == 2
    assert "--yes" in done.err
    assert kept(application) == seen


def test_a_mailbox_moves_to_its_new_limit_group_and_its_session_ends(
    seen: Mailbox, application: Application, ingest: Ingest
) -> None:
    lease = application.schedule.claim_mailbox(seen, 60)
    assert lease
    assert ingest("mailbox", "set", "a", "--tenant", "t").code == 0
    assert application.schedule.renew([lease], 60) == {lease}
    assert application.schedule.groups_due() == {f"{seen.host}|t": 1}
    assert application.schedule.depth().scheduled == 1


def test_a_changed_rule_ends_the_session_under_the_old_one(
    seen: Mailbox, application: Application, ingest: Ingest
) -> None:
    lease = application.schedule.claim_mailbox(seen, 60)
    assert lease
    assert ingest("mailbox", "set", "a", "--delete", "never", "--yes").code == 0
    assert application.schedule.renew([lease], 60) == {lease}
    assert application.schedule.groups_due() == {seen.group: 1}


def test_a_new_name_ends_no_session(
    seen: Mailbox, application: Application, ingest: Ingest
) -> None:
    lease = application.schedule.claim_mailbox(seen, 60)
    assert lease
    assert ingest("mailbox", "set", "a", "--rename", "b").code == 0
    assert kept(application).name == "b"
    assert not application.schedule.renew([lease], 60)


def test_a_paused_mailbox_stays_paused_and_says_so(
    seen: Mailbox, application: Application, ingest: Ingest
) -> None:
    assert ingest("mailbox", "pause", "a", "--reason", "moving house").code == 0
    done = ingest("mailbox", "set", "a", "--tenant", "t")
    assert done.out == "a is changed, and still paused: moving house\n"
    assert application.schedule.depth().scheduled == 0
    assert kept(application) == msgspec.structs.replace(seen, tenant="t", paused="moving house")


def test_a_change_that_somebody_made_meanwhile_is_not_undone(
    seen: Mailbox, application: Application, ingest: Ingest, type_in: TypeIn
) -> None:
    paused = msgspec.structs.replace(seen, paused="by somebody else")
    type_in(PASSWORD, lambda: application.registry.update(paused, seen=seen))
    done = ingest("mailbox", "set", "a", "--password")
    assert done.code == 4
    assert "somebody else meanwhile" in done.err
    assert kept(application) == paused


def test_name_and_account_of_another_mailbox_are_refused(
    seen: Mailbox, application: Application, ingest: Ingest
) -> None:
    application.registry.add(mailbox("b"))
    name = ingest("mailbox", "set", "a", "--rename", "B")
    words = ("--address", "pop3s://b%40example.org@pop.example.org", "--no-test", "--yes")
    account = ingest("mailbox", "set", "a", *words)
    assert (name.code, account.code) == (4, 4)
    assert "'b' (mb-b) has the name" in name.err
    assert "'b' (mb-b) has the account" in account.err
    assert kept(application) == seen


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say what to change"),
        (["--password", "--password-ref", "env:RIGHT"], "use one"),
        (["--password"], "nobody is at the terminal"),
        (["--password-ref", "sesame"], "is env:NAME"),
        (["--plaintext"], "add --address"),
        (["--address", "pop3s://ana:hunter2@pop.example.org"], "password in the address"),
        (["--rename", ""], "the name is empty"),
        (["--tenant", " "], "the tenant is empty"),
        (["--delete", ""], "unknown delete rule"),
    ],
)
def test_what_can_not_be_meant_is_wrong_usage(
    seen: Mailbox, application: Application, ingest: Ingest, words: list[str], said: str
) -> None:
    done = ingest("mailbox", "set", "a", *words)
    assert done.code == 2
    assert said in done.err
    assert "hunter2" not in done.err
    assert kept(application) == seen


def test_an_unknown_mailbox_can_not_be_changed(application: Application, ingest: Ingest) -> None:
    del application
    assert ingest("mailbox", "set", "nobody", "--tenant", "t").code == 4


def test_a_password_that_no_key_opens_names_the_command_that_enters_it_anew(
    seen: Mailbox, application: Application, ingest: Ingest
) -> None:
    lost = Keyring([new_key()]).seal(PASSWORD, seen.id)
    changed = msgspec.structs.replace(seen, name="my orders", password=lost)
    application.registry.update(changed, seen=seen)
    done = ingest("mailbox", "test", "my orders")
    assert done.code == 4
    assert "ingest mailbox set 'my orders' --password" in done.err
