from __future__ import annotations

import pytest
import typer

from ingest.cli import output
from ingest.errors import RegistryError, SettingsError
from ingest.model import DeleteRule


def test_text_from_mail_can_not_move_the_cursor_or_reorder_the_line() -> None:
    hostile = "a\x1b[2Jb\u202egnp.exe\x07\u200b\x9b\u2028z"

    shown = output.visible(hostile)

    assert shown == "a\ufffd[2Jb\ufffdgnp.exe\ufffd\ufffd\ufffd\ufffdz"


def test_a_line_break_in_a_cell_becomes_a_space() -> None:
    assert output.visible("one\r\ntwo\tthree") == "one  two three"


def test_letters_of_every_script_are_left_alone() -> None:
    assert output.visible("Grüezi 煎茶 účet ☕") == "Grüezi 煎茶 účet ☕"


def test_a_table_in_a_pipe_is_aligned_and_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(
        ["name", "octets"], [["orders", "9"], ["x" * 150, "1,234"]], right=["octets"]
    )

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "octets"]
    assert lines[2].split() == ["x" * 150, "1,234"]
    assert len({len(line.rstrip()) for line in lines}) == 1


def test_markup_in_a_cell_is_only_text(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["subject"], [["[bold]not bold[/bold] :tea:"]])

    assert "[bold]not bold[/bold] :tea:" in capsys.readouterr().out


def test_facts_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_facts([("name", "orders"), ("delete rule", "committed")])

    assert capsys.readouterr().out == "name         orders\ndelete rule  committed\n"


def test_an_error_is_one_line_and_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_error(RegistryError("no mailbox\x1b 'x'", remedy="ingest mailbox list"))

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: no mailbox\ufffd 'x'\n  → ingest mailbox list\n"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (31_457_280, "31.5 MB"), (2e15, "2000.0 TB")],
)
def test_sizes_are_for_people(number: float, text: str) -> None:
    assert output.octets(number) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 messages"), (1, "1 message"), (1234, "1,234 messages")]
)
def test_nouns_follow_their_number(number: int, text: str) -> None:
    assert output.counted(number, "message") == text


def test_nobody_at_the_terminal_means_no_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)

    with pytest.raises(typer.BadParameter, match="--yes"):
        output.confirm("Delete?", yes=False)
    output.confirm("Delete?", yes=True)


def test_a_value_that_does_not_parse_is_wrong_usage() -> None:
    assert output.choose("after 7d", DeleteRule.parse) == "after 7d"
    with pytest.raises(typer.BadParameter, match="use committed, published, never"):
        output.choose("sometimes", DeleteRule.parse)
    with pytest.raises(SettingsError):
        DeleteRule.parse("sometimes")
