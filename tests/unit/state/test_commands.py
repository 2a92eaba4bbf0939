"""Redis as the rest of the package uses it."""

from __future__ import annotations

from ingest.observability import metrics
from ingest.state.commands import Commands


def test_every_command_and_every_script_is_timed(run: Commands) -> None:
    def timed() -> float:
        return metrics.registry.get_sample_value("mail_ingest_redis_call_seconds_count") or 0

    before = timed()
    run.run("PING")
    assert timed() == before + 1
    run.call("trim", [run.key("outbox")])
    assert timed() == before + 2
