"""Redis as the rest of this package uses it: our keys, our Lua scripts, our errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import Any, Final, Protocol, TypeVar

from redis import Redis
from redis.commands.core import Script

from ingest.observability import metrics
from ingest.state.connect import translated

PREFIX: Final = "mail-ingest:"
CHUNK: Final = 2_000  # members of one command, so that no command holds Redis up for long

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Argument = str | bytes | int | float


class Ahead(Protocol):
    """`map`, or what works on a few items at a time."""

    def __call__(
        self, function: Callable[[Item], Answer], items: Iterable[Item], /
    ) -> Iterator[Answer]:
        """The function's answers, in the order of the items."""


class Commands:
    """One client, the prefix of our keys, and the scripts under `lua/`.

    Every method raises StateError where Redis fails.
    """

    def __init__(self, client: Redis, prefix: str = PREFIX) -> None:
        self.client = client
        self._prefix = prefix
        self._scripts: dict[str, Script] = {}
        self._sources = _sources()  # now: a worker may lack descriptors later

    def key(self, *names: str) -> str:
        """Our key of that name."""
        return self._prefix + ":".join(names)

    def run(self, *command: Argument) -> Any:  # noqa: ANN401 - each command has its own reply
        """Run one command."""
        with metrics.redis_call_seconds.time(), translated():
            return self.client.execute_command(*command)  # type: ignore[no-untyped-call]  # theirs

    def call(self, script: str, keys: Sequence[str], arguments: Sequence[Argument] = ()) -> Any:  # noqa: ANN401 - each script has its own reply
        """Run `lua/<script>.lua`, atomically, by its hash; it is loaded where Redis lacks it."""
        known = self._scripts.get(script)
        if known is None:
            known = self._scripts[script] = self.client.register_script(self._sources[script])
        with metrics.redis_call_seconds.time(), translated():
            return known(keys, arguments)

    def now(self) -> float:
        """Redis's clock: seconds since the epoch."""
        seconds, microseconds = self.run("TIME")
        return float(seconds) + float(microseconds) / 1e6


def chunks(items: Iterable[str], size: int = CHUNK) -> Iterator[Sequence[str]]:
    """The items in runs of at most that size."""
    source = iter(items)
    while run := list(islice(source, size)):
        yield run


def text(reply: bytes) -> str:
    """A reply as text: unique-ids come from servers and may hold any octet."""
    return reply.decode("utf-8", "surrogateescape")


@cache
def _sources() -> Mapping[str, str]:
    """Every script by its name, with the prelude that all have."""
    folder = files("ingest.state") / "lua"
    texts = {file.name.removesuffix(".lua"): file.read_text() for file in folder.iterdir()}
    prelude = texts.pop("prelude")
    return {name: f"{prelude}\n{text}" for name, text in texts.items()}
