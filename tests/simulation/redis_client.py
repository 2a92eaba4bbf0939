"""The client of the Redis in memory, as our code uses the one of redis-py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias, cast

from ingest.state import commands
from tests.simulation import lua
from tests.simulation.redis_keys import Answer
from tests.simulation.redis_server import RedisServer


class Request(NamedTuple):
    """A command or a script on its way to the server."""

    name: str  # of the command, in upper case; of the script, in lower case
    keys: Sequence[lua.Value]  # of a script
    arguments: Sequence[lua.Value]


Carry: TypeAlias = Callable[[Request, Callable[[], Answer]], Answer]


class RedisClient:
    """Sends commands and scripts, and reads answers as redis-py does for RESP2.

    Args:
        server: where to.
        carry: makes the call that it gets, or not, or twice.
    """

    def __init__(self, server: RedisServer, carry: Carry = lambda _, call: call()) -> None:
        self._server = server
        self._carry = carry

    def execute_command(self, *command: lua.Value) -> Any:  # noqa: ANN401 - each has its own answer
        name, *arguments = command
        words = name.split()
        answer = self._carry(
            Request(name, (), arguments), lambda: self._server.call(*words, *arguments)
        )
        return _READERS[name](answer) if name in _READERS else answer

    def register_script(self, source: str) -> Callable[..., Answer]:
        name = _script_names().get(source, "")

        def run(keys: Sequence[lua.Value], arguments: Sequence[lua.Value] = ()) -> Answer:
            return self._carry(
                Request(name, keys, arguments),
                lambda: self._server.evaluate(source, keys, arguments),
            )

        return run

    def close(self) -> None:
        """Nothing to close."""

    def llen(self, _: str) -> int:
        """Of a queue of hints: those are not here, but where the seed loses and doubles them."""
        return 0

    def flushall(self) -> None:
        self.execute_command("FLUSHALL")

    def set(self, key: str, value: str) -> None:
        self.execute_command("SET", key, value)

    def mset(self, values: Mapping[str, str]) -> None:
        for key, value in values.items():
            self.set(key, value)

    def info(self, section: str) -> Mapping[str, str]:
        return cast("Mapping[str, str]", self.execute_command("INFO", section))

    def delete(self, key: str) -> None:
        self.execute_command("DEL", key)


@cache
def _script_names() -> Mapping[str, str]:
    """Which script a source is."""
    return {source: name for name, source in commands._sources().items()}


def _pairs(flat: Sequence[Answer]) -> dict[Any, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _entries(answer: Answer) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Stream entries; one that was trimmed has no fields."""
    return [(entry, _pairs(fields or [])) for entry, fields in answer]


def _named(answer: Answer) -> list[dict[str, Answer]]:
    return [{name.decode(): value for name, value in _pairs(one).items()} for one in answer]


_READERS: Mapping[str, Callable[[Answer], Any]] = {
    "TIME": lambda answer: tuple(map(int, answer)),
    "INFO": lambda answer: dict([answer.decode().split(":")]),
    "SET": lambda answer: answer == b"OK",
    "SCAN": lambda answer: (int(answer[0]), answer[1]),
    "HSCAN": lambda answer: (int(answer[0]), _pairs(answer[1])),
    "ZSCORE": lambda answer: None if answer is None else float(answer),
    "XRANGE": _entries,
    "XREADGROUP": lambda answer: [[key, _entries(found)] for key, found in answer or []],
    "XPENDING": lambda answer: {"pending": answer[0], "min": answer[1], "max": answer[2]},
    "XINFO GROUPS": _named,
    "XINFO CONSUMERS": _named,
}
