"""What a store can do, tried out: for `ingest doctor` and for the start of a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from ingest.errors import StoreError, StoreUnavailable
from ingest.intake.ports import ObjectStore


class Probe(NamedTuple):
    """What came of it."""

    steps: Mapping[str, StoreError | None]  # write, read, list, delete, multipart: what failed
    checksums: bool | None  # whether wrong ones are refused; None: not known, or it has none
    clock_skew: float  # seconds that the store's clock is ahead of ours

    @property
    def usable(self) -> bool:
        """Whether mail can be stored there."""
        return not any(self.steps.values())


class Store(ObjectStore, Protocol):
    """An object store as the start of a process sees it."""

    def probe(self) -> Probe:
        """Try out what is needed, with an object that is removed afterwards. Never raises."""

    def close(self) -> None:
        """Wait for what is being written, then let go of threads and connections."""


def attempt(steps: Mapping[str, Callable[[], object]]) -> dict[str, StoreError | None]:
    """Run every step, whatever becomes of the others; but one alone where none gets through."""
    outcome: dict[str, StoreError | None] = {}
    for name, step in steps.items():
        try:
            step()
        except StoreError as error:
            if not outcome and isinstance(error, StoreUnavailable):
                return {name: error}
            outcome[name] = error
        else:
            outcome[name] = None
    return outcome
