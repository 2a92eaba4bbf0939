"""YAML without its pitfalls: plain values only, and no key twice in one map."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from ingest.errors import SettingsError


class _Twice(yaml.MarkedYAMLError):
    """A key stands in one map twice."""


# What a value raises that is not of its tag, a 13th month say, or a character past the last one.
_MISFITS = (ValueError, LookupError, AttributeError, OverflowError)

_MOST_KEYS = 100  # of one map, what is merged into it included


class _Strict(yaml.SafeLoader):  # the one in C is no match for a thousand brackets
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(keys) > len(set(keys)):
            raise _Twice(problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > _MOST_KEYS:  # maps that merge others twice double with every line
            raise yaml.MarkedYAMLError(problem_mark=node.start_mark)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> str:
        value = super().construct_scalar(node)
        value.encode()  # "\ud800" is half a character: nothing can store it
        return value


def load(octets: bytes) -> object:
    """The one document in the text.

    Raises:
        SettingsError: it is none; the sentence says where, but repeats nothing of it.
    """
    try:
        return yaml.load(octets, _Strict)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, RecursionError, *_MISFITS) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        what = "has a key twice" if isinstance(error, _Twice) else "is neither JSON nor YAML"
        raise SettingsError(f"the file {what}{where}", remedy="correct it") from None
