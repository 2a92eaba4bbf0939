"""A TCP server of a test's own, made of asyncio streams, beside tests that know no asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeAlias

from tests.servers.ports import HOST

Accepted: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.contextmanager
def served(accepted: Accepted, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve on a free port, in a thread of its own, until the end of the block; the port.

    A connection ends when `accepted` does, and all end with the block.
    """
    loop = asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()
    connections = set[asyncio.Task[None] | None]()  # the loop's own references are weak
    port = 0

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await accepted(reader, writer)
        writer.transport.abort()

    async def serve() -> None:
        nonlocal port
        server = await asyncio.start_server(one, HOST, 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        started.set()
        await stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="served")
    thread.start()
    started.wait()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
