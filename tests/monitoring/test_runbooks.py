"""Who is woken by an alert finds out what it means and what to do, with commands that exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import typer

from ingest.cli.app import app
from ingest.settings import Settings
from tests.monitoring.exposed import exposed_names
from tests.monitoring.rules import MONITORING, alerts, metrics_in, rules
from tests.servers.prometheus import promtool

RUNBOOKS = MONITORING.parent / "runbooks"
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
SOURCES = "".join(path.read_text() for path in (MONITORING.parents[1] / "ingest").rglob("*.py"))

CLI = typer.main.get_command(app)

every_runbook = pytest.mark.parametrize(
    "path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem
)


def commands(text: str) -> Iterator[list[str]]:
    """The `ingest` command lines in code, inline or fenced, without what they are piped into."""
    for line in re.findall(r"^ *(ingest [^\n|>]+)|`(ingest [^`|>]+)`", text, re.MULTILINE):
        yield shlex.split("".join(line))


def complaint(command: list[str]) -> str:
    """What is wrong with a command line; empty: it exists."""
    at = CLI
    words = command[1:]
    while words and hasattr(at, "commands"):
        if words[0] not in at.commands:
            return f"no command {words[0]}"
        at, words = at.commands[words[0]], words[1:]
    options = {name for parameter in at.params for name in parameter.opts}
    unknown = [word for word in words if word.startswith("-") and word not in options]
    return f"no option {unknown[0]}" if unknown else ""


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {alert.alert for alert in alerts()}


@every_runbook
def test_a_runbook_has_its_name_and_all_sections_in_order(path: Path) -> None:
    title, *sections = re.split(r"^#+ (?=[A-Z])", path.read_text(), flags=re.MULTILINE)[1:]
    assert title.strip() == path.stem
    assert [section.split("\n")[0] for section in sections] == SECTIONS
    for section in sections:
        assert len(section.split()) > 6, section


@every_runbook
def test_a_diagnosis_has_something_to_run(path: Path) -> None:
    diagnosis = path.read_text().split("## Diagnosis")[1].split("## Mitigation")[0]
    assert "```sh" in diagnosis or "```promql" in diagnosis


@every_runbook
def test_every_command_of_a_runbook_exists_with_its_options(path: Path) -> None:
    for command in commands(path.read_text()):
        assert not complaint(command), shlex.join(command)


def test_a_command_or_option_that_does_not_exist_is_noticed() -> None:
    assert complaint(["ingest", "mailbox", "lst"]) == "no command lst"
    assert complaint(["ingest", "mailbox", "list", "--jsn"]) == "no option --jsn"
    assert list(commands("  ingest doctor\nor `ingest poll A`")) == [
        ["ingest", "doctor"],
        ["ingest", "poll", "A"],
    ]


@every_runbook
def test_every_metric_setting_event_code_and_runbook_that_a_runbook_names_exists(
    path: Path,
) -> None:
    text = path.read_text()
    known = exposed_names() | {rule.record for rule in rules()}
    assert metrics_in(text) <= known
    settings = {f"INGEST_{field.name.upper()}" for field in msgspec.structs.fields(Settings)}
    assert set(re.findall(r"\bINGEST_\w+", text)) <= settings
    for name in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", text):  # events, codes, tasks
        assert f'"{name}"' in SOURCES or name in known, name
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (RUNBOOKS / link).is_file(), link


@pytest.mark.prometheus
def test_prometheus_understands_every_query_of_the_runbooks(tmp_path: Path) -> None:
    queries = [
        query
        for path in RUNBOOKS.glob("*.md")
        for block in re.findall(
            r"^ *```promql\n(.*?)```", path.read_text(), re.DOTALL | re.MULTILINE
        )
        for query in block.split("\n")
        if query.strip()
    ]
    assert len(queries) > len(SECTIONS)
    recorded = [
        {"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)
    ]
    file = tmp_path / "queries.yaml"
    file.write_bytes(msgspec.yaml.encode({"groups": [{"name": "runbooks", "rules": recorded}]}))
    promtool("check", "rules", str(file))
