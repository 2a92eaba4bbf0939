"""Redis as the rest of the package uses it."""

from __future__ import annotations

import contextlib

from ingest.observability import metrics
from ingest.state.commands import Commands
from ingest.state.connect import connect
from tests.servers.valkey import Valkey


def test_every_command_and_every_script_is_timed(valkey: Valkey) -> None:
    def timed() -> float:
        return metrics.registry.get_sample_value("mail_ingest_redis_call_seconds_count") or 0

    with contextlib.closing(connect(valkey.url)) as client:
        redis, before = Commands(client), timed()
        redis.run("PING")
        assert timed() == before + 1
        redis.call("trim", [redis.key("outbox")])
        assert timed() == before + 2
