"""Many seeds, on all processors."""

from __future__ import annotations

import gc
import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from tests.simulation.faults import Habit, Kind
from tests.simulation.patches import simulated
from tests.simulation.simulation import Failed, Simulation

_AT_A_TIME = 25  # seeds


class Tally(NamedTuple):
    """What came of some seeds."""

    struck: Counter[Kind | Habit]
    failures: list[str]  # each with its last steps, and how to take them again


def run(seeds: range) -> Iterator[Tally]:
    """Run them, some at a time: what came of these, as it comes."""
    shares = [seeds[at : at + _AT_A_TIME] for at in range(0, len(seeds), _AT_A_TIME)]
    # A process that is begun anew has no threads of whoever asks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(mp_context=context, initializer=_begin) as processes:
        yield from processes.map(_run, shares)


def _begin() -> None:
    sys.settrace(None)  # coverage is for tests that look at one thing; here it doubles the time
    gc.freeze()  # what was imported is never garbage: only what seeds leave is looked at
    gc.disable()


def _run(seeds: range) -> Tally:
    tally = Tally(Counter(), [])
    with simulated() as living:
        for seed in seeds:
            try:
                tally.struck.update(Simulation(seed, living).run().struck)
            except Failed as failed:
                tally.failures.append(str(failed))
    gc.collect()
    return tally
