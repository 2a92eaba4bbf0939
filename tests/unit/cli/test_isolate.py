"""`ingest isolate`: answers its worker, whatever memory the host leaves it."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from ingest.errors import RegistryError
from ingest.isolation import COMMAND, MEMORY_OCTETS, Outcome, Question
from ingest.model import Lease

# Takes the limit on, then becomes the command.
LIMITED = """
import os, resource, sys
most = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_DATA, (most, most))
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize(
    "most", [MEMORY_OCTETS * 3 // 4, MEMORY_OCTETS * 2, resource.RLIM_INFINITY]
)
def test_a_host_that_allows_less_memory_than_we_do_is_no_reason_not_to_try(
    home: Path, most: int
) -> None:
    del home
    question = Question(Lease("mb-unknown", "pop.example.org|default", "lease"))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(most), *COMMAND],
        input=msgspec.json.encode(question),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert msgspec.json.decode(done.stdout, type=Outcome).code == RegistryError.code
