"""A real beat whose Redis stops answering, without a word."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.e2e.fleet import fleet
from tests.servers.ports import HOST, free_port
from tests.servers.valkey import valkey_server

# As `ingest beat` becomes it, but for a heart that stops after two seconds.
IMPATIENT = """
import sys
from celery.__main__ import main
from ingest.tasks import clock
clock.HEARTBEAT_SECONDS = 2.0
sys.argv = ["celery", "--quiet", "--app", "ingest.tasks.app", "beat"]
main()
"""


def asked(port: int) -> tuple[int, str]:
    """What it answers at /healthz; 0 while it does not listen."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/healthz", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def test_a_beat_that_hangs_in_redis_is_unhealthy_and_says_why_until_redis_answers(
    tmp_path: Path,
) -> None:
    port = free_port()
    settings = {"INGEST_BEAT_PORT": str(port), "INGEST_METRICS_HOST": HOST}
    with valkey_server() as valkey, fleet(tmp_path, valkey.url, settings) as ours:
        ours.launch([sys.executable, "-c", IMPATIENT, "beat"])
        ours.wait(lambda: asked(port) == (200, "ok\n"), 30)
        valkey.pause()
        ours.wait(lambda: asked(port)[0] == 503, 20)
        assert "it waits for Redis to take the hint" in asked(port)[1]
        valkey.resume()
        ours.wait(lambda: asked(port) == (200, "ok\n"), 20)
