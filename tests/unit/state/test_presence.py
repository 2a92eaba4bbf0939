from __future__ import annotations

from redis import Redis

from ingest.state.presence import Presence


def test_a_worker_is_seen_for_a_minute(client: Redis) -> None:
    assert not Presence(client).seen()
    Presence(client).show()
    assert Presence(client).seen()
    assert 0 < client.ttl("mail-ingest:worker-seen") <= 60
