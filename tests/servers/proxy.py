"""A TCP proxy between a client and a server that delays, cuts, stalls and swallows."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import TypeAlias

from tests.servers.ports import HOST
from tests.servers.streams import served

BLOCK = 65536
BLOCKS_IN_FLIGHT = 256

Blocks: TypeAlias = "asyncio.Queue[tuple[float, bytes]]"
Limit: TypeAlias = Callable[[bytes], tuple[bytes, bool]]


class _Cut(Exception):
    """A limit is reached."""


@dataclasses.dataclass
class Proxy:
    """A running proxy. Its fields may be changed while it runs; connections heed them at once.

    The limits count octets over all connections, so that `cut_down=1000` ends the connection
    exactly after the thousandth octet from the server reached the client.
    """

    round_trip: float = 0.0  # seconds; each direction takes half
    cut_up: int | None = None  # cut once so many octets went from client to server
    cut_down: int | None = None  # cut once so many octets went from server to client
    stall_down: int | None = None  # pass so many octets to the client, then no more, but stay open
    flip_down: int | None = None  # change this octet, counted from one, on its way to the client
    dead: int = 0  # the oldest so many connections lead nowhere, though nobody is told
    host: str = HOST
    port: int = 0
    connections: int = 0  # accepted so far
    octets_up: int = 0  # passed from client to server so far
    octets_down: int = 0  # passed from server to client so far

    def limit_up(self, octets: bytes) -> tuple[bytes, bool]:
        """What of a block from the client may pass, and whether to cut after it."""
        passed, cut = _limited(octets, self.octets_up, self.cut_up)
        self.octets_up += len(passed)
        return passed, cut

    def limit_down(self, octets: bytes) -> tuple[bytes, bool]:
        """What of a block from the server may pass, and whether to cut after it."""
        passed, cut = _limited(octets, self.octets_down, self.cut_down)
        passed = _flipped(passed, self.octets_down, self.flip_down)
        passed, _ = _limited(passed, self.octets_down, self.stall_down)
        self.octets_down += len(passed)
        return passed, cut


def _limited(octets: bytes, so_far: int, limit: int | None) -> tuple[bytes, bool]:
    """What may still pass, and whether that reaches the limit."""
    if limit is None:
        return octets, False
    return octets[: max(limit - so_far, 0)], so_far + len(octets) >= limit


def _flipped(octets: bytes, so_far: int, place: int | None) -> bytes:
    """The same, but for a bit where the place is among them."""
    if place is None or not 0 <= (at := place - so_far - 1) < len(octets):
        return octets
    return octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]


@contextlib.contextmanager
def tcp_proxy(host: str, port: int, *, round_trip: float = 0.0) -> Iterator[Proxy]:
    """Run a proxy before that server, in a thread of its own, until the end of the block."""
    proxy = Proxy(round_trip=round_trip)

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.connections += 1
        await _connect(proxy, (reader, writer), (host, port))

    with served(accepted) as proxy.port:
        yield proxy


async def _connect(
    proxy: Proxy,
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    server_address: tuple[str, int],
) -> None:
    """Join one client to the server until both have ended or a limit cuts them apart."""
    client_reader, client_writer = client
    number = proxy.connections

    def alive() -> bool:
        return number > proxy.dead

    server_reader, server_writer = await asyncio.open_connection(*server_address)
    try:
        async with asyncio.TaskGroup() as directions:
            for reader, writer, limit in (
                (client_reader, server_writer, proxy.limit_up),
                (server_reader, client_writer, proxy.limit_down),
            ):
                blocks: Blocks = asyncio.Queue(BLOCKS_IN_FLIGHT)
                directions.create_task(_take(proxy, reader, blocks))
                directions.create_task(_give(blocks, writer, limit, alive))
    except* (OSError, _Cut):
        pass
    finally:
        server_writer.transport.abort()


async def _take(proxy: Proxy, reader: asyncio.StreamReader, blocks: Blocks) -> None:
    """Read one direction; each block with the time at which it is due at the other side."""
    octets = b"-"
    while octets:
        octets = await reader.read(BLOCK)
        await blocks.put((asyncio.get_running_loop().time() + proxy.round_trip / 2, octets))


async def _give(
    blocks: Blocks, writer: asyncio.StreamWriter, limit: Limit, alive: Callable[[], bool]
) -> None:
    """Write one direction."""
    writer.transport.set_write_buffer_limits(0)  # drained means: given to the kernel
    while True:
        due, octets = await blocks.get()
        await asyncio.sleep(due - asyncio.get_running_loop().time())
        if not octets:
            if alive():
                writer.write_eof()
            return
        if not alive():
            continue
        passed, cut = limit(octets)
        writer.write(passed)
        await writer.drain()
        if cut:
            raise _Cut
