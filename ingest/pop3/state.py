"""The states of a session and the one table of what leads from each to which.

GREETING ──► AUTHORIZATION ──► TRANSACTION ──► UPDATE
               │  ▲                            (RFC 1939 sections 4 to 6)
         STLS  ▼  │  secured()
             HANDSHAKE                         (RFC 2595 section 4)
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType


class State(Enum):
    """Where a session stands."""

    GREETING = auto()  # the server speaks first
    AUTHORIZATION = auto()
    HANDSHAKE = auto()  # STLS was answered +OK: TLS, and nothing else, comes next
    TRANSACTION = auto()
    UPDATE = auto()  # QUIT was answered +OK: the server deletes and closes
    CLOSED = auto()  # no more: QUIT before signing in, or the server broke POP3


# Which commands may be sent in a state, and the state after their +OK. An -ERR changes nothing.
TRANSITIONS: Mapping[State, Mapping[str, State]] = MappingProxyType(
    {
        State.GREETING: {},
        State.AUTHORIZATION: {
            "CAPA": State.AUTHORIZATION,
            "STLS": State.HANDSHAKE,
            "USER": State.AUTHORIZATION,
            "PASS": State.TRANSACTION,
            "AUTH": State.TRANSACTION,
            "QUIT": State.CLOSED,
        },
        State.HANDSHAKE: {},
        State.TRANSACTION: {
            "CAPA": State.TRANSACTION,
            "STAT": State.TRANSACTION,
            "LIST": State.TRANSACTION,
            "UIDL": State.TRANSACTION,
            "TOP": State.TRANSACTION,
            "RETR": State.TRANSACTION,
            "DELE": State.TRANSACTION,
            "NOOP": State.TRANSACTION,
            "QUIT": State.UPDATE,
        },
        State.UPDATE: {},
        State.CLOSED: {},
    }
)
