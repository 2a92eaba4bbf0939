"""The sinks that events go to."""

from __future__ import annotations

from collections.abc import Sequence

from redis import Redis

from ingest.intake.relay import OutboxEvent
from ingest.state.connect import translated


class RedisStreamSink:
    """A Redis Stream that consumers read with XREAD or XREADGROUP.

    Each entry has the fields `id`, `type` and `event`: the CloudEvent as JSON.

    Args:
        client: the Redis that consumers read.
        stream: the key.
        maxlen: about so many entries are kept; 0 keeps all.
    """

    def __init__(self, client: Redis, stream: str, maxlen: int) -> None:
        self._client = client
        self._stream = stream
        self._maxlen = maxlen

    def publish(self, events: Sequence[OutboxEvent]) -> None:
        """Append; Redis's answer to each XADD is the confirmation.

        Raises:
            StateError: Redis failed.
        """
        with translated(), self._client.pipeline(transaction=False) as pipeline:
            for event in events:
                pipeline.xadd(
                    self._stream,
                    {"id": event.id, "type": event.type, "event": event.json},
                    maxlen=self._maxlen or None,
                )
            pipeline.execute()
