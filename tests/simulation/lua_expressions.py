"""Lua expressions as Python expressions.

Lua's strings are bytes, a table is a dict that counts from 1, nil is None. Names get a prefix, so
that none meets a word of Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

Node: TypeAlias = tuple[Any, ...]  # its kind first

COMPARED = frozenset({"<", ">", "<=", ">=", "~=", "=="})

# What returns one value; a function of the script, and string.match, may return several.
_OF_ONE_VALUE: tuple[Node, ...] = (("name", "tonumber"), ("name", "ipairs"), ("name", "unpack"))
_REDIS: Node = ("name", "redis")


def local(name: str) -> str:
    """The name in Python."""
    return f"v_{name}"


def values(nodes: Sequence[Node], *, wanted: int = 2) -> str:
    """A list of expressions; a call that stands alone gives all that it returns."""
    if wanted > 1 and len(nodes) == 1 and nodes[0][0] == "call":
        return _call(*nodes[0][1:])
    return ", ".join(map(value, nodes))


def target(node: Node) -> str:
    """What an assignment puts a value into."""
    if node[0] == "index":
        return f"{value(node[1])}[{value(node[2])}]"
    return value(node)


def condition(node: Node) -> str:
    """The expression where only its truth matters: nil and false are false, 0 is not."""
    match node:
        case ("not", inner):
            return f"(not {condition(inner)})"
        case ("and" | "or" as word, left, right):
            return f"({condition(left)} {word} {condition(right)})"
        case (operator, _, _) if operator in COMPARED:
            return value(node)
    return f"is_true({value(node)})"


def value(node: Node) -> str:
    """The expression; of a call, the first value that it returns."""
    kind, *operands = node
    translate = _KINDS.get(kind)
    return translate(*operands) if translate else _operation(kind, *operands)


def _value_of_call(function: Node, arguments: Sequence[Node]) -> str:
    call = _call(function, arguments)
    return call if function in _OF_ONE_VALUE or function[1] == _REDIS else f"first({call})"


def _call(function: Node, arguments: Sequence[Node]) -> str:
    return f"{value(function)}({', '.join(map(_argument, arguments))})"


def _argument(node: Node) -> str:
    if node[0] == "call" and node[1] == ("name", "unpack"):
        return f"*{_call(*node[1:])}"
    return value(node)


def _operation(operator: str, left: Node, right: Node) -> str:
    a, b = value(left), value(right)
    match operator:
        case "and" | "or":
            return f"either_{operator}({a}, lambda: {b})"
        case "..":
            return f"joined({a}, {b})"
    return f"({a} {'!=' if operator == '~=' else operator} {b})"


_KINDS: Mapping[str, Callable[..., str]] = {
    "number": str,
    "constant": str,
    "string": repr,
    "name": local,
    "table": lambda items: f"Table.of([{', '.join(map(value, items))}])",
    "field": lambda module, name: f"{module[1]}_{name}",
    "index": lambda table, key: f"{value(table)}.get({value(key)})",
    "call": _value_of_call,
    "not": lambda inner: condition(("not", inner)),
    "-unary": lambda inner: f"(-{value(inner)})",
    "#unary": lambda inner: f"len({value(inner)})",
}
