"""Many seeds: whatever strikes, nothing is lost, nothing is seen twice, and everything ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.simulation import many
from tests.simulation.faults import HABITS, KINDS
from tests.simulation.patches import simulated
from tests.simulation.simulation import Failed, Outcome, Simulation
from tests.simulation.witness import Witness

SEEDS = 2500


def outcome(seed: int) -> Outcome:
    with simulated() as living:
        return Simulation(seed, living).run()


def test_no_seed_breaks_a_promise_and_every_fault_strikes() -> None:
    struck: Counter[str] = Counter()
    failures: list[str] = []
    for tally in many.run(range(SEEDS)):
        struck.update(tally.struck)
        failures += tally.failures
    assert not failures, f"{len(failures)} seeds, of these first:\n" + "\n\n".join(failures[:3])
    assert min(struck[name] for name in (*KINDS, *HABITS)), struck


def test_a_seed_that_fails_says_how_to_take_the_same_steps_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: Witness) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(Witness, "check_messages", fail)
    with pytest.raises(Failed, match=r"seed 3: KeyError: 'a bug'\n.*SEED=3$") as first:
        outcome(3)
    with pytest.raises(Failed) as again:
        outcome(3)
    assert str(again.value) == str(first.value)


@pytest.mark.parametrize("seed", [3, 17])
def test_a_seed_takes_the_same_steps_in_every_process_whatever_ran_before(seed: int) -> None:
    first = outcome(seed)
    assert outcome(seed + 1) != first
    assert outcome(seed) == first
    again = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", str(seed)],
        env=os.environ | {"PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"digest {first.digest:08x}" in again.stdout
