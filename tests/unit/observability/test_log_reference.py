"""The reference of the log lists what the code logs, and nothing else."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from ingest.intake.message import Unparsable, described
from ingest.intake.report import SessionReport
from ingest.objects.sweep import Swept

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "deploy" / "logs.md"
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}

# What lines are given as a whole.
UNPACKED = {
    "msgspec.structs.asdict(report)": {
        field.name for field in msgspec.structs.fields(SessionReport)
    },
    "swept._asdict()": set(Swept._fields),
    "seen": set(described(Unparsable())),
}
# What the logging adds by itself.
ADDED = {"level", "timestamp", "logger", "session", "mailbox", "sample_rate", "trace_id", "span_id"}


class Line(NamedTuple):
    """A kind of line."""

    event: str
    level: str
    fields: frozenset[str]


def emitted(source: str) -> Iterator[Line]:
    """The lines that a module logs."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(ast.Name("log" | "logger"), level)) if level in LEVELS:
                yield _line(node, level)
            case ast.Call(func=ast.Attribute(ast.Call(func=ast.Attribute(_, "get_logger")), _)):
                raise AssertionError(f"line {node.lineno}: name the logger `log`")


def _line(call: ast.Call, level: str) -> Line:
    [event] = call.args
    assert isinstance(event, ast.Constant), f"line {call.lineno}: an event's name is static"
    assert isinstance(event.value, str)
    fields = {"exception"} if level == "exception" else set()
    for keyword in call.keywords:
        if keyword.arg is None:
            fields |= UNPACKED[ast.unparse(keyword.value)]
        else:
            fields.add("exception" if keyword.arg == "exc_info" else keyword.arg)
    return Line(event.value, "error" if level == "exception" else level, frozenset(fields))


def all_emitted() -> set[Line]:
    files = sorted((ROOT / "ingest").rglob("*.py"))
    return {line for file in files for line in emitted(file.read_text())}


def rows(columns: int) -> list[list[str]]:
    """The rows of the reference's tables with so many columns whose first is a name."""
    split = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in REFERENCE.read_text().splitlines()
        if line.startswith("| `")
    ]
    return [row for row in split if len(row) == columns]


def listed() -> list[Line]:
    return [
        Line(event.strip("`"), level, frozenset(re.findall(r"`(\w+)`", fields)))
        for event, level, _, fields in rows(4)
    ]


def test_every_event_is_in_it_with_its_level_and_its_fields() -> None:
    assert all_emitted() - set(listed()) == set()


def test_nothing_is_in_it_that_is_never_logged() -> None:
    assert set(listed()) - all_emitted() == set()
    assert len(set(listed())) == len(listed())


def test_every_field_is_in_it_with_its_type_once_and_in_order() -> None:
    fields = [row[0].strip("`") for row in rows(3)]
    assert fields == sorted(ADDED.union(*(line.fields for line in all_emitted())))
    assert all(kind and meaning for _, kind, meaning in rows(3))


@pytest.mark.parametrize(
    "source",
    [
        'log.info(f"session_{number}")',
        'log.info("session", **whatever)',
        'structlog.get_logger().info("session")',
        'log.info("session %s", number)',
    ],
)
def test_a_line_that_can_not_be_listed_is_seen(source: str) -> None:
    with pytest.raises((AssertionError, KeyError, ValueError)):
        list(emitted(source))


def test_lines_are_told_apart_by_all_that_is_listed() -> None:
    found = defaultdict(set)
    source = """
log.info("a", number=1)
log.warning("a", number=1)
log.exception("b", path=p)
log.error("c", exc_info=error)
"""
    for line in emitted(source):
        found[line.event].add((line.level, line.fields))
    assert found == {
        "a": {("info", frozenset({"number"})), ("warning", frozenset({"number"}))},
        "b": {("error", frozenset({"path", "exception"}))},
        "c": {("error", frozenset({"exception"}))},
    }
