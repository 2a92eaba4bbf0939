"""Named points on the way of a message, where a test can kill, delay or fail a process.

Each is one call that does nothing, unless a test has put something into `hook`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias, get_args

Failpoint: TypeAlias = Literal[
    "claimed",
    "connected",
    "signed-in",
    "listed",
    "attempts-counted",
    "octets-received",
    "part-block-uploaded",  # one block of a multipart upload
    "part-completed",  # the object is there, and its writer does not know yet
    "commit-sending",
    "commit-written",  # the commit object is there, and its batch does not know yet
    "ledger-updated",
    "dele-sent",
    "dele-answered",
    "quit-sending",
    "quit-sent",
    "quit-answered",
    "settled",
    "released",
    "publishing",
    "published",  # the sink has them, and the outbox does not know yet
    "acknowledged",
    "batch-read-back",
    "batch-swept",
]

FAILPOINTS: Final[tuple[Failpoint, ...]] = get_args(Failpoint)

hook: Callable[[Failpoint], None] | None = None


def reach(point: Failpoint) -> None:
    """The process has come to this point."""
    if hook is not None:
        hook(point)
