"""`make simulate`: many seeds, or one with all its steps."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections import Counter

from rich.console import Console

from tests.simulation import many
from tests.simulation.faults import HABITS, KINDS
from tests.simulation.patches import simulated
from tests.simulation.simulation import Failed, Simulation

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Run what the arguments say; 1 where an invariant broke."""
    parser = argparse.ArgumentParser(prog="make simulate")
    parser.add_argument("--seeds", type=int, default=1000, help="how many, from 0 on")
    parser.add_argument("--seed", type=int, help="this one alone, and its steps")
    arguments = parser.parse_args()
    one = arguments.seed is not None
    return _show(arguments.seed) if one else _count(arguments.seeds)


def _show(seed: int) -> int:
    """One seed, step by step."""
    with simulated() as living:
        simulation = Simulation(seed, living)
        simulation.on_step = console.out
        try:
            done = simulation.run()
        except Failed as failed:
            traceback.print_exception(failed.__cause__)
            return 1
    console.out(
        f"seed {seed}: {done.steps} steps, {done.messages} messages, {done.events} events, "
        f"digest {done.digest:08x}"
    )
    return 0


def _count(seeds: int) -> int:
    """Many seeds, and what struck them."""
    struck: Counter[str] = Counter()
    broken = 0
    for tally in many.run(range(seeds)):
        struck.update(tally.struck)
        broken += len(tally.failures)
        for failure in tally.failures:
            console.out(failure)
    for name in (*KINDS, *HABITS):
        console.out(f"{struck[name]:8} {name}")
    console.out(f"{seeds} seeds, {broken} of them broke a promise")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
