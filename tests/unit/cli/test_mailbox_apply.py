"""`mailbox apply`: registry and schedule become what a file declares, or stay as they are."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ingest.bootstrap import Application
from ingest.cli.sign_in import register
from ingest.errors import RegistryError, StateUnavailable
from ingest.model import Mailbox
from tests.fakes.mail_values import mailbox
from tests.fakes.pop3_server import PASSWORD, USERNAME, Pop3Server
from tests.unit.cli.conftest import Ingest

Declare = Callable[..., str]


def entry(name: str, **more: object) -> dict[str, object]:
    address = f"pop3s://{name}%40example.org@pop.example.org"
    return {"name": name, "address": address, "password": "env:PASSWORD", **more}


@pytest.fixture
def declare(tmp_path: Path) -> Declare:
    """Writes a file that declares these mailboxes; its path."""

    def write(*entries: object, file: str = "mailboxes.json") -> str:
        path = tmp_path / file
        path.write_text(json.dumps({"mailboxes": entries}))
        return str(path)

    return write


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pop3Server]:
    monkeypatch.setenv("RIGHT", PASSWORD)
    monkeypatch.setenv("WRONG", "guessed")
    with Pop3Server([("u1", b"Subject: one\r\n\r\n")]) as running:
        yield running


def there(application: Application) -> dict[str, Mailbox]:
    return {each.name: each for each in application.registry.list()}


def stored(home: Path) -> dict[str, tuple[int, bytes]]:
    """The mailboxes' objects, and when each was written."""
    folder = home / "store" / "mailboxes"
    return {
        path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.glob("*.json")
    }


def names(applied: Any, kind: str) -> list[str]:  # noqa: ANN401 - JSON
    return [each["name"] for each in applied[kind]]


def test_what_is_declared_is_kept_and_due_and_a_second_time_nothing_is_touched(
    application: Application, ingest: Ingest, declare: Declare, home: Path
) -> None:
    file = declare(entry("a"), entry("b", delete="never"))
    first = ingest("mailbox", "apply", file)
    assert first.code == 0
    assert first.out.splitlines() == [
        "+ a: pop3s://a%40example.org@pop.example.org, delete committed",
        "+ b: pop3s://b%40example.org@pop.example.org, delete never",
        "2 added, 0 changed, 0 paused, 0 removed, 0 unchanged",
    ]
    assert there(application)["b"].delete == "never"
    assert there(application)["a"].source == "file"
    assert application.schedule.depth().scheduled == 2

    before = stored(home)
    second = ingest("mailbox", "apply", file)
    assert (second.code, second.err) == (0, "")
    assert second.out == "0 added, 0 changed, 0 paused, 0 removed, 2 unchanged\n"
    assert stored(home) == before


def test_a_dry_run_says_the_same_and_changes_nothing(
    application: Application, ingest: Ingest, declare: Declare, home: Path
) -> None:
    assert ingest("mailbox", "apply", declare(entry("a"), entry("b"))).code == 0
    before = stored(home)
    file = declare(entry("a", tenant="t"), entry("c"))
    shown = ingest("mailbox", "apply", file, "--dry-run", "--json").json[0]
    assert stored(home) == before
    assert shown["dry_run"] is True
    assert shown["changed"] == [
        {"name": "a", "id": there(application)["a"].id, "fields": ["tenant"]}
    ]
    assert shown["added"] == [{"name": "c", "id": "", "fields": []}]
    done = ingest("mailbox", "apply", file, "--json").json[0]
    for kind in ("added", "changed", "paused", "removed"):
        assert names(done, kind) == names(shown, kind)
    told = ingest("mailbox", "apply", declare(), "--dry-run").out
    assert "nothing is changed yet; it would be: 0 added" in told


def test_one_that_vanished_is_paused_and_comes_back_as_it_was(
    application: Application, ingest: Ingest, declare: Declare
) -> None:
    ingest("mailbox", "apply", declare(entry("a")))
    before = there(application)["a"]
    gone = ingest("mailbox", "apply", declare())
    assert gone.out.splitlines()[0] == "= a: no longer declared"
    assert application.schedule.depth().scheduled == 0
    assert "paused: no longer declared" in ingest("mailbox", "list").out
    ingest("mailbox", "apply", declare(entry("a")))
    assert there(application) == {"a": before}
    assert application.schedule.depth().scheduled == 1


def test_only_with_prune_it_is_forgotten(
    application: Application, ingest: Ingest, declare: Declare
) -> None:
    ingest("mailbox", "apply", declare(entry("a"), entry("b")))
    done = ingest("mailbox", "apply", declare(entry("b")), "--prune")
    assert done.out.startswith("- a: forgotten")
    assert there(application).keys() == {"b"}
    assert application.schedule.depth().scheduled == 1


def test_a_changed_tenant_moves_it_to_its_new_limit_group(
    application: Application, ingest: Ingest, declare: Declare
) -> None:
    ingest("mailbox", "apply", declare(entry("a")))
    lease = application.schedule.claim_mailbox(there(application)["a"], 60)
    assert lease
    ingest("mailbox", "apply", declare(entry("a", tenant="t")))
    assert application.schedule.renew([lease], 60) == {lease}
    assert application.schedule.claim_mailbox(there(application)["a"], 60)


def test_a_wrong_entry_is_told_and_none_is_applied(
    application: Application, ingest: Ingest, declare: Declare
) -> None:
    done = ingest("mailbox", "apply", declare(entry("a"), entry("b", password="hunter2"), {}))
    assert done.code == 3
    assert [line for line in done.err.splitlines() if line.startswith("error")] == [
        "error: entry 2 ('b'): `password` is not where the password is: env:NAME, file:/PATH",
        "error: entry 3: object missing required field `name`",
    ]
    assert done.err.endswith("nothing is changed\n")
    assert not there(application)


def test_a_file_that_can_not_be_read_is_named(ingest: Ingest, home: Path) -> None:
    done = ingest("mailbox", "apply", str(home / "nothing"))
    assert done.code == 3
    assert "nothing: No such file" in done.err


def test_standard_input_is_read(
    application: Application, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"mailboxes: [{json.dumps(entry('a'))}]"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert ingest("mailbox", "apply", "-").code == 0
    assert there(application).keys() == {"a"}


def test_what_people_added_is_left_alone_unless_told(
    application: Application, ingest: Ingest, declare: Declare
) -> None:
    register(application, mailbox("a"))
    refused = ingest("mailbox", "apply", declare(entry("a"), entry("b")))
    assert refused.code == 4
    assert "mailbox 'a' was added by hand, as a: --adopt takes it over" in refused.err
    assert there(application).keys() == {"a"}
    taken = ingest("mailbox", "apply", declare(entry("a")), "--adopt", "--json").json[0]
    assert taken["changed"] == [{"name": "a", "id": "mb-a", "fields": ["source"]}]
    assert application.schedule.depth().scheduled == 1


def test_taking_one_over_ends_no_session(
    application: Application, ingest: Ingest, declare: Declare
) -> None:
    register(application, mailbox("a"))
    lease = application.schedule.claim_mailbox(there(application)["a"], 60)
    assert lease
    assert ingest("mailbox", "apply", declare(entry("a")), "--adopt").code == 0
    assert there(application)["a"].source == "file"
    assert not application.schedule.renew([lease], 60)


def test_each_source_has_its_own(
    application: Application, ingest: Ingest, declare: Declare
) -> None:
    ingest("mailbox", "apply", declare(entry("a")), "--source", "one")
    ingest("mailbox", "apply", declare(entry("b")), "--source", "two")
    assert not any(each.paused for each in there(application).values())
    refused = ingest("mailbox", "apply", declare(entry("a")), "--source", "two", "--adopt")
    assert "mailbox 'a' is declared in 'one': take it out there first" in refused.err
    assert ingest("mailbox", "apply", declare(), "--source", " ").code == 2


@pytest.mark.parametrize("words", [["set", "a", "--tenant", "t"], ["remove", "a", "--yes"]])
def test_commands_refuse_to_change_what_is_declared_unless_forced(
    application: Application, ingest: Ingest, declare: Declare, words: list[str]
) -> None:
    ingest("mailbox", "apply", declare(entry("a")), "--source", "values of x")
    before = there(application)
    refused = ingest("mailbox", *words)
    assert refused.code == 4
    assert "the settings of mailbox 'a' are declared in 'values of x'" in refused.err
    assert there(application) == before
    assert ingest("mailbox", *words, "--force").code == 0
    assert there(application) != before
    ingest("mailbox", "apply", declare(entry("a")), "--source", "values of x")
    assert there(application)["a"].tenant == "default"


def test_it_can_be_paused_in_an_emergency_and_applying_does_not_resume_it(
    application: Application, ingest: Ingest, declare: Declare
) -> None:
    ingest("mailbox", "apply", declare(entry("a")))
    assert ingest("mailbox", "pause", "a").code == 0
    ingest("mailbox", "apply", declare(entry("a", tenant="t")))
    assert there(application)["a"].paused == "by hand"
    assert application.schedule.depth().scheduled == 0
    assert ingest("mailbox", "resume", "a").code == 0
    assert there(application)["a"].source == "file"


def test_a_declared_pause_is_resumed_where_it_is_declared(
    application: Application, ingest: Ingest, declare: Declare
) -> None:
    ingest("mailbox", "apply", declare(entry("a", paused="moving")))
    assert application.schedule.depth().scheduled == 0
    refused = ingest("mailbox", "resume", "a")
    assert refused.code == 4
    assert "is paused where it is declared, in 'file'" in refused.err
    ingest("mailbox", "apply", declare(entry("a")))
    assert not there(application)["a"].paused
    assert application.schedule.depth().scheduled == 1


def test_one_that_vanished_is_kept_by_hand_once_somebody_resumes_it(
    application: Application, ingest: Ingest, declare: Declare
) -> None:
    ingest("mailbox", "apply", declare(entry("a")))
    ingest("mailbox", "apply", declare())
    assert ingest("mailbox", "set", "a", "--tenant", "t").code == 0
    assert ingest("mailbox", "resume", "a").code == 0
    assert ingest("mailbox", "apply", declare()).out.endswith("0 paused, 0 removed, 0 unchanged\n")
    assert there(application)["a"].source == ""
    assert "settings      kept here" in ingest("mailbox", "show", "a").out


def test_signing_in_is_tried_where_it_is_asked_for_and_all_or_nothing_is_applied(
    application: Application, ingest: Ingest, declare: Declare, server: Pop3Server
) -> None:
    where = f"pop3://{USERNAME}@{server.host}:{server.port}"
    good = entry("a", address=where, plaintext=True, password="env:RIGHT")
    bad = entry("b", address=where.replace("pop3://", "pop3://x"), plaintext=True)
    refused = ingest("mailbox", "apply", declare(good, {**bad, "password": "env:WRONG"}), "--test")
    assert refused.code == 6
    assert "error: mailbox 'b': " in refused.err
    assert not there(application)
    assert ingest("mailbox", "apply", declare(good), "--test").code == 0
    sessions = server.sessions
    assert ingest("mailbox", "apply", declare({**good, "tenant": "t"}), "--test").code == 0
    assert server.sessions == sessions  # nothing about signing in has changed


def test_several_at_once_agree(
    application: Application, declare: Declare, home: Path, tmp_path: Path
) -> None:
    del home
    file = declare(*(entry(f"box-{number}") for number in range(100)))
    command = [sys.executable, "-m", "ingest.cli", "mailbox", "apply", file, "--json"]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)
    ]
    done = [(*process.communicate(timeout=60), process.returncode) for process in running]
    assert [code for _, _, code in done] == [0] * 4, done
    added = [name for out, _, _ in done for name in names(json.loads(out), "added")]
    assert sorted(added) == sorted(f"box-{number}" for number in range(100))
    assert len(application.registry.list()) == len(list((tmp_path / "store/mailboxes").iterdir()))
    assert application.schedule.depth().scheduled == 100


def test_a_change_that_somebody_makes_meanwhile_is_seen_and_put_right(
    application: Application, ingest: Ingest, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest("mailbox", "apply", declare(entry("a")))
    update, meanwhile = type(application.registry).update, iter(["by hand"])

    def outrun(registry: Any, changed: Mailbox, *, seen: Mailbox) -> Mailbox:  # noqa: ANN401
        for reason in meanwhile:
            update(registry, msgspec.structs.replace(seen, paused=reason), seen=seen)
        return update(registry, changed, seen=seen)

    monkeypatch.setattr(type(application.registry), "update", outrun)
    assert ingest("mailbox", "apply", declare(entry("a", tenant="t"))).code == 0
    assert (there(application)["a"].tenant, there(application)["a"].paused) == ("t", "by hand")


def test_what_somebody_takes_over_meanwhile_is_not_pruned(
    application: Application, ingest: Ingest, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest("mailbox", "apply", declare(entry("a"), entry("b")))
    seen = there(application)["a"]
    remove, meanwhile = type(application.registry).remove, iter([""])

    def outrun(registry: Any, removed: Mailbox) -> None:  # noqa: ANN401
        for nobody in meanwhile:
            registry.update(msgspec.structs.replace(seen, source=nobody), seen=seen)
        remove(registry, removed)

    monkeypatch.setattr(type(application.registry), "remove", outrun)
    assert ingest("mailbox", "apply", declare(entry("b")), "--prune").code == 0
    assert {name: each.source for name, each in there(application).items()} == {
        "a": "",
        "b": "file",
    }
    assert application.schedule.depth().scheduled == 2


def test_what_somebody_adds_meanwhile_is_told_together_with_what_became_of_the_rest(
    application: Application, ingest: Ingest, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = type(application.registry).add

    def outrun(registry: Any, added: Mailbox) -> Mailbox:  # noqa: ANN401
        if added.name == "b":
            add(registry, msgspec.structs.replace(added, id="mb-b", source=""))
        return add(registry, added)

    monkeypatch.setattr(type(application.registry), "add", outrun)
    done = ingest("mailbox", "apply", declare(entry("a"), entry("b")))
    assert done.code == RegistryError.exit_code
    assert "mailbox 'b' was added by hand" in done.err
    assert "the rest is applied" in done.err
    assert {name: each.source for name, each in there(application).items()} == {
        "a": "file",
        "b": "",
    }


def test_it_waits_for_a_redis_that_does_not_know_all_mailboxes_yet(
    application: Application, ingest: Ingest, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(application.checkpoints), "epoch", lambda _: None)
    monkeypatch.setattr(type(application.checkpoints), "read", lambda _: None)
    monkeypatch.setattr(type(application.read_back), "restore_mailboxes", lambda _: None)
    done = ingest("mailbox", "apply", declare(entry("a")))
    assert done.code == StateUnavailable.exit_code
    assert not there(application)
