"""`values.yaml` as people read it: every key with its default, its prose and its example."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import NamedTuple

import yaml

from tests.chart.render import DIRECTORY, Values

_EXAMPLE = "Example:"


class Documented(NamedTuple):
    """One key."""

    path: tuple[str, ...]
    node: yaml.Node  # of its default
    prose: str
    example: str  # YAML of a value; empty: none
    parent: bool  # whether its own keys are documented

    @property
    def default(self) -> object:
        """Its value in `values.yaml`."""
        return yaml.safe_load(yaml.serialize(self.node))

    @property
    def example_values(self) -> Values:
        """Values that set it to its example."""
        value = yaml.safe_load(self.example)
        for key in reversed(self.path):
            value = {key: value}
        return dict(value)


def documented() -> Iterator[Documented]:
    """All keys, in the order of the file; the keys below one that has an example are its value."""
    text = (DIRECTORY / "values.yaml").read_text()
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    yield from _keys(root, text.splitlines(), ())


def _keys(node: yaml.MappingNode, lines: list[str], above: tuple[str, ...]) -> Iterator[Documented]:
    for key, value in node.value:
        prose, example = _comment(lines, key.start_mark.line)
        parent = isinstance(value, yaml.MappingNode) and bool(value.value) and not example
        yield Documented((*above, key.value), value, prose, example, parent)
        if parent:
            yield from _keys(value, lines, (*above, key.value))


def _comment(lines: list[str], line: int) -> tuple[str, str]:
    """Prose and example in the comment right above a line."""
    first = line
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    block = [each.lstrip().removeprefix("#").removeprefix(" ") for each in lines[first:line]]
    prose, found, example = "\n".join(block).partition(_EXAMPLE)
    return " ".join(prose.split()), textwrap.dedent(example).strip() if found else ""
