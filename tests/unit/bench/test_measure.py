"""What the bench says of a process is true of that process."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import messages
from tests.bench.measure import measure
from tests.bench.programs import Command, discard, durable_poplib_loop, poplib_loop
from tests.servers.dovecot import Dovecot, Maildrop

Prepare = Callable[[Dovecot, Maildrop, Path], Command]


def test_the_peak_is_that_of_the_command_and_not_of_the_bench(tmp_path: Path) -> None:
    ours = bytearray(200_000_000)
    ours[::4096] = b"x" * len(ours[::4096])  # resident, in the process that starts the command
    small = measure(["true"], {}, tmp_path)
    large = measure([sys.executable, "-c", "len(b'x' * 100_000_000)"], {}, tmp_path)
    assert small.peak < 50_000_000
    assert 100_000_000 < large.peak < 150_000_000


def test_exit_code_environment_and_output_are_the_command_s(tmp_path: Path) -> None:
    measured = measure(["sh", "-c", "echo $WORD; exit 3"], {"WORD": "said"}, tmp_path)
    assert measured.exit_code == 3
    assert (tmp_path / "output").read_text() == "said\n"


def test_processor_time_of_children_counts(tmp_path: Path) -> None:
    busy = "import time\nwhile time.process_time() < 0.2: pass"
    measured = measure(["sh", "-c", f"'{sys.executable}' -c '{busy}'; true"], {}, tmp_path)
    assert measured.cpu >= 0.2


@pytest.mark.parametrize("prepare", [poplib_loop, durable_poplib_loop, discard])
def test_each_loop_empties_the_maildrop_and_stores_what_it_says(
    dovecot: Dovecot, maildrop: Maildrop, tmp_path: Path, prepare: Prepare
) -> None:
    made = [messages.with_attachment(seed, 100_000) for seed in range(70)]
    maildrop.deliver_many(each.octets for each in made)
    command = prepare(dovecot, maildrop, tmp_path)
    assert measure(command.arguments, command.environment, tmp_path).exit_code == 0
    assert maildrop.count() == 0
    if prepare is discard:
        return
    stored = [each.leaves[-1] for each in made]
    if prepare is durable_poplib_loop:
        stored += [hashlib.sha256(each.octets).hexdigest() for each in made]
    for name in stored:
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == name
