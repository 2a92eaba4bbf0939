"""A way out as companies have it: an HTTP proxy that carries TLS, and a server that speaks it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator

from tests.servers.certificates import Certificates
from tests.servers.ports import HOST
from tests.servers.streams import served

_BLOCK = 65536


class ConnectProxy:
    """A running HTTP proxy that knows CONNECT (RFC 9110 section 9.3.6), and nothing else."""

    def __init__(self) -> None:
        self.url = ""
        self.targets: list[str] = []  # HOST:PORT of each connection
        self.refused: list[str] = []  # other requests

    async def accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect the client with what it asks for."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        if method != "CONNECT":
            self.refused.append(f"{method} {target}")
            writer.write(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
            return
        self.targets.append(target)
        host, _, port = target.rpartition(":")
        await _join(reader, writer, host, int(port), greeting=b"HTTP/1.1 200 OK\r\n\r\n")


@contextlib.contextmanager
def connect_proxy() -> Iterator[ConnectProxy]:
    """Run such a proxy until the end of the block."""
    proxy = ConnectProxy()
    with served(proxy.accepted) as port:
        proxy.url = f"http://{HOST}:{port}"
        yield proxy


@contextlib.contextmanager
def tls_front(host: str, port: int, certificates: Certificates) -> Iterator[int]:
    """Speak TLS before a server that doesn't, until the end of the block; the port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.certificate, certificates.key)

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _join(reader, writer, host, port)

    with served(accepted, context) as front:
        yield front


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    host: str,
    port: int,
    greeting: bytes = b"",
) -> None:
    """Pass octets in both directions until one of them ends."""
    far_reader, far_writer = await asyncio.open_connection(host, port)
    try:
        writer.write(greeting)
        ways = [_pass(reader, far_writer), _pass(far_reader, writer)]
        tasks = [asyncio.create_task(way) for way in ways]
        _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        far_writer.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while octets := await reader.read(_BLOCK):
        writer.write(octets)
        await writer.drain()
