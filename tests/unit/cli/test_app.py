from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest
import typer

from ingest import __version__, errors
from ingest.cli import app


def failing(error: BaseException) -> Callable[[], NoReturn]:
    def opened() -> NoReturn:
        raise error

    return opened


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["--version"]) == 0
    assert capsys.readouterr().out == f"mail-ingest {__version__}\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.IngestError("it broke"), 1),
        (errors.SettingsError("it broke"), 3),
        (errors.RegistryError("it broke"), 4),
        (errors.ConnectionFailed("it broke"), 5),
        (errors.SignInRefused("it broke"), 6),
        (errors.StoreFull("it broke"), 7),
        (errors.StateUnavailable("it broke"), 8),
    ],
)
def test_an_error_is_one_line_and_the_exit_code_of_its_class(
    error: errors.IngestError,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    error.remedy = "mend it"
    monkeypatch.setattr("ingest.cli.poll.opened", failing(error))

    assert app.run(["poll", "orders"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: it broke\n  → mend it\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["frob"], "No such command 'frob'"),
        (["poll"], "Missing argument"),
        (["message", "list", "--limit", "0"], "--limit"),
        (["message", "list", "--since", "then"], "'then' is no time"),
        (["mailbox", "add", "a", "pop3s://a:hunter2@b"], "password in the address"),
        (["message", "list", "--since", "999999w"], "'999999w' is no time"),
        (["mailbox", "add", "a", "pop3s://a@b", "--delete", "maybe"], "unknown delete rule"),
        (["mailbox", "add", "", "pop3s://a@b"], "the name is empty"),
        (["mailbox", "add", " ", "pop3s://a@b"], "the name is empty"),
        (["mailbox", "add", "a\x1bb", "pop3s://a@b"], "characters that don't print"),
        (["mailbox", "add", "a", "pop3s://a@b", "--tenant", ""], "the tenant is empty"),
        (["mailbox", "add", "a", "pop3s://a@b", "--password-ref", "env:"], "is env:NAME"),
        (["mailbox", "add", "a", "pop3s://a@b", "--password-ref", "file:"], "is env:NAME"),
        (["mailbox", "add", "a", "pop3s://a@b", "--password-ref", "sesame"], "is env:NAME"),
        (["worker", "--lanes", "pol"], "poll, relay, maintenance"),
        (["worker", "--lanes", ""], "poll, relay, maintenance"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "--help" in error
    assert "hunter2" not in error
    assert error.count("\n") == 2


def test_no_arguments_show_the_help_and_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([]) == 2
    captured = capsys.readouterr()
    assert "demo" in captured.out
    assert "error" not in captured.err


def test_the_schema_of_the_events_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["events", "schema"]) == 0
    assert "dataref" in json.loads(capsys.readouterr().out)["$defs"]["CloudEvent"]["properties"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), typer.Abort()])
def test_an_interruption_is_no_traceback(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.cli.poll.opened", failing(error))

    assert app.run(["poll", "orders"]) == 130


def test_a_setting_that_is_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INGEST_CONCURENCY", "8")

    assert app.run(["mailbox", "list"]) == 3
    assert "INGEST_CONCURENCY" in capsys.readouterr().err


def test_what_a_terminal_can_not_show_is_replaced_but_never_in_json() -> None:
    code = "from ingest.cli import app, output; import sys; app.run = lambda _: print('→ ü 煎') or "
    code += "output.print_json('→ ü 煎') or 0; app.main()"

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=True,
    )

    assert done.stdout == "? ü ?\n".encode("latin-1") + '"→ ü 煎"\n'.encode()


def test_the_help_lists_every_exit_code_that_an_error_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    app.run(["--help"])
    epilog = capsys.readouterr().out.partition("Exit codes:")[2]
    documented = {int(number) for number in re.findall(r"(?<!\w)(\d+) ", epilog)}

    def codes(root: type[errors.IngestError]) -> Iterator[int]:
        yield root.exit_code
        for error in root.__subclasses__():
            yield from codes(error)

    assert documented == {0, 2, *codes(errors.IngestError)}


def test_starting_imports_nothing_heavy() -> None:
    heavy = ("boto3", "celery", "redis", "cryptography", "rich", "structlog", "prometheus_client")
    code = f"import sys, ingest.cli.app; print([n for n in {heavy} if n in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
