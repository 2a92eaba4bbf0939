"""A real worker in one lane, without a beat: it consumes, so it is healthy."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.e2e.fleet import fleet
from tests.servers.ports import free_port
from tests.servers.valkey import Valkey


def heartbeat_age(port: int) -> float | None:
    """What a worker says of itself, in seconds; nothing while it does not listen."""
    try:
        said = urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    except (URLError, ConnectionError):
        return None
    (age,) = (
        line.split()[1]
        for line in said.splitlines()
        if line.startswith("mail_ingest_heartbeat_age_seconds")
    )
    return float(age)


def test_a_worker_whose_lane_is_idle_and_whom_nobody_ticks_is_healthy(
    tmp_path: Path, valkey: Valkey
) -> None:
    port = free_port()
    ages = [0.0]

    def beaten() -> bool:
        if (age := heartbeat_age(port)) is not None:
            ages.append(age)
        return ages[-1] < max(ages)

    with fleet(tmp_path, valkey.url, {"INGEST_METRICS_PORT": str(port)}) as ours:
        ours.launch([sys.executable, "-m", "ingest.cli", "worker", "--lanes", "relay"])
        ours.wait(beaten, 60)
    assert max(ages) < 30  # half of what /healthz allows
