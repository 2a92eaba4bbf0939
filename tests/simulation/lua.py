"""What a translated Lua script runs with: tables, the library, and `redis.call`."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, TypeAlias

from tests.simulation.lua_translator import python

Value: TypeAlias = Any  # of Lua
Call: TypeAlias = Callable[..., Value]  # redis.call


class Table(dict[Any, Any]):
    """A Lua table."""

    @classmethod
    def of(cls, items: Sequence[Value]) -> Table:
        return cls(enumerate(items, 1))

    def items_in_order(self) -> Iterator[Value]:
        """From 1 to the first hole."""
        at = 1
        while at in self:
            yield self[at]
            at += 1


@cache
def translated(source: str) -> Callable[[Call], Callable[[Table, Table], Value]]:
    """The script as a function of `redis.call`, which makes one of KEYS and ARGV."""
    names = dict(_LIBRARY)
    exec(compile(python(source), "script.lua", "exec"), names)  # noqa: S102 - our own scripts
    made: Callable[[Call], Callable[[Table, Table], Value]] = names["script"]
    return made


def is_true(value: Value) -> bool:
    return value is not None and value is not False


def octets_of(value: Value) -> bytes:
    """A string or a number as a string, as Redis writes numbers."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, float):
        return b"%.17g" % value
    return b"%d" % value


def _tonumber(value: Value) -> Value:
    if not isinstance(value, bytes):
        return value if isinstance(value, int | float) else None
    try:
        return int(value)
    except ValueError:
        return float(value)


def _match(text: bytes, pattern: bytes) -> tuple[bytes, ...]:
    found = re.search(pattern.replace(b"%", b"\\"), text)
    assert found
    return found.groups()


def _format(pattern: bytes, *values: Value) -> bytes:
    return pattern % values


def _sub(text: bytes, first: int, last: int | None = None) -> bytes:
    return text[first - 1 : last]


def _pack(form: bytes, *values: Value) -> bytes:
    return struct.pack(form.decode().replace("I4", "I"), *map(int, values))


_LIBRARY: dict[str, Any] = {
    "Table": Table,
    "is_true": is_true,
    "either_and": lambda left, right: right() if is_true(left) else left,
    "either_or": lambda left, right: left if is_true(left) else right(),
    "first": lambda values: values[0] if isinstance(values, tuple) else values,
    "joined": lambda left, right: octets_of(left) + octets_of(right),
    "v_tonumber": _tonumber,
    "v_ipairs": lambda table: enumerate(table.items_in_order(), 1),
    "v_unpack": lambda table: table.items_in_order(),
    "math_floor": lambda number: int(number // 1),
    "math_max": max,
    "math_min": min,
    "string_match": _match,
    "string_format": _format,
    "string_byte": lambda text: text[0],
    "string_char": lambda number: bytes([number]),
    "string_sub": _sub,
    "struct_pack": _pack,
}
