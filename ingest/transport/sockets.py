"""TCP connections whose every wait ends: by octets, by a deadline, or because we stop."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import TypeGuard, TypeVar

from ingest.errors import ConnectionFailed, DeadlineExceeded
from ingest.transport import tls
from ingest.transport.deadlines import SLICE_SECONDS, Patience

_Result = TypeVar("_Result")

_CHECK_ADDRESS = "check host and port; TLS from the start is on port 995, STLS on port 110"
_CHECK_NETWORK = "check the network between worker and server, and firewalls"


def connect(host: str, port: int, peer: str, patience: Patience) -> socket.socket:
    """Connect to the first address of the host that answers.

    Raises:
        ConnectionFailed: no such name, or no address answers; what the last one said.
    """
    try:
        # Nothing can end this early. The resolver has its own timeout.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:  # ValueError: it can't be a name
        if _no_descriptor(error):
            raise _not_connected(peer, error) from error
        raise ConnectionFailed(
            f"{peer}: the host name does not resolve: {getattr(error, 'strerror', '') or error}",
            remedy="check the host name for typing errors, and the worker's DNS",
        ) from error
    until = time.monotonic() + patience.deadlines.connect_seconds
    failure = OSError(errno.EADDRNOTAVAIL, "no address")
    for left, (family, kind, protocol, _, address) in zip(
        range(len(found), 0, -1), found, strict=True
    ):
        try:
            connection = socket.socket(family, kind, protocol)
        except OSError as error:
            failure = error
            continue
        try:
            share = (until - time.monotonic()) / left
            _connect(connection, address, time.monotonic() + share, patience)
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise _not_connected(peer, failure) from failure


def _connect(connection: socket.socket, address: object, until: float, patience: Patience) -> None:
    """Connect in slices: a blocking connect could not be ended early."""
    connection.setblocking(False)
    error = connection.connect_ex(address)  # type: ignore[arg-type]  # whatever getaddrinfo gave
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    while error == errno.EINPROGRESS:
        patience.check()
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError(errno.ETIMEDOUT, "no answer")
        if poll.poll(1000 * min(left, SLICE_SECONDS)):
            error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, "")  # of the subclass that fits the number


def _no_descriptor(error: Exception) -> TypeGuard[OSError]:
    return isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}


def _not_connected(peer: str, error: OSError) -> ConnectionFailed:
    if _no_descriptor(error):
        return ConnectionFailed(
            f"{peer}: no connection: this process may open no more files",
            remedy="raise the worker's limit of open files, or lower INGEST_CONCURRENCY",
        )
    match error:
        case ConnectionRefusedError():
            return ConnectionFailed(f"{peer}: the connection was refused", remedy=_CHECK_ADDRESS)
        case TimeoutError():
            return ConnectionFailed(f"{peer}: the server does not answer", remedy=_CHECK_NETWORK)
        case OSError(errno=errno.EHOSTUNREACH | errno.ENETUNREACH):
            return ConnectionFailed(f"{peer}: the server can't be reached", remedy=_CHECK_NETWORK)
    reason = errno.errorcode.get(error.errno or 0, str(error))
    return ConnectionFailed(f"{peer}: no connection: {reason}", remedy=_CHECK_NETWORK)


class Wire:
    """A connected socket, in the clear or under TLS.

    Args:
        connection: taken over: `close` closes it.
        peer: names mailbox and server in errors.
        patience: ends waits.
    """

    def __init__(self, connection: socket.socket, peer: str, patience: Patience) -> None:
        connection.settimeout(SLICE_SECONDS)
        with contextlib.suppress(OSError):  # not every socket has it
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connection
        self._peer = peer
        self.patience = patience

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """The handshake, as a client of that host.

        Raises:
            TlsFailed: it failed, or the certificate does not verify for the host.
            DeadlineExceeded: it took too long.
        """
        until = time.monotonic() + self.patience.deadlines.connect_seconds
        try:
            secured = context.wrap_socket(
                self._socket, server_hostname=host, do_handshake_on_connect=False
            )
            self._socket = secured
            while True:
                self.patience.check()
                try:
                    return secured.do_handshake()
                except TimeoutError:
                    if time.monotonic() >= until:
                        raise DeadlineExceeded(
                            f"{self._peer}: the TLS handshake takes too long",
                            remedy="TLS from the start is on port 995, STLS on port 110",
                        ) from None
        except (OSError, ValueError) as error:  # ValueError: a host name that can't be one
            raise tls.failed(self._peer, error) from error

    def receive(self, buffer: memoryview, *, rated: bool) -> int:
        """Wait for octets; how many came, 0 at the end of the connection.

        `rated`: within a message or listing, where they must come at the minimum rate.

        Raises:
            ConnectionFailed: the connection broke.
            DeadlineExceeded: idle for too long, or too slow.
            SessionStopped: `stop` said so.
        """
        started = time.monotonic()
        octets = self._wait(partial(self._read, buffer))
        if rated:
            self.patience.received(octets, time.monotonic() - started)
        return octets

    def send(self, octets: bytes) -> None:
        """Send all; raises what `receive` does."""
        unsent = memoryview(octets)
        while unsent:
            # After a timeout, TLS wants the very same octets again: `unsent` has not moved.
            unsent = unsent[self._wait(partial(self._socket.send, unsent)) :]

    def close(self) -> None:
        """Close at once. Never raises."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def _read(self, buffer: memoryview) -> int:
        """One read in the clear; under TLS as many as have something right now.

        A TLS read gives one record, which servers often make small, and every view that is
        handed on costs its reader some work.
        """
        octets = self._socket.recv_into(buffer)
        if not octets or not isinstance(self._socket, ssl.SSLSocket):
            return octets
        self._socket.settimeout(0)
        # Nothing there yet, or an error that the next read meets again.
        with contextlib.suppress(OSError):
            while octets < len(buffer) and (more := self._socket.recv_into(buffer[octets:])):
                octets += more
        self._socket.settimeout(SLICE_SECONDS)
        return octets

    def _wait(self, attempt: Callable[[], _Result]) -> _Result:
        while True:
            self.patience.check()
            started = time.monotonic()
            try:
                return attempt()
            except OSError as error:
                if isinstance(error, TimeoutError) and error.errno is None:
                    continue  # the slice is over
                reason = errno.errorcode.get(error.errno or 0, str(error))
                raise ConnectionFailed(
                    f"{self._peer}: the connection broke: {reason}", remedy=_CHECK_NETWORK
                ) from error
            finally:
                self.patience.waited(time.monotonic() - started)
