"""The demo's mail: three mailboxes of Blue Wren Tea, an importer that does not exist.

What comes to a business in a morning: orders, invoices, photos, newsletters, bounces, a file far
too large for mail, and some that are damaged. Every name is made up, every domain reserved
(RFC 2606), and every octet the same at each call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ingest.cli.demo.invoices import INVOICES
from ingest.cli.demo.orders import ORDERS
from ingest.cli.demo.server import Waiting
from ingest.cli.demo.support import SUPPORT

LARGE_MAILBOX = "invoices"
LARGE_UNIQUE_ID = "inv-0008"


def maildrops() -> Mapping[str, Sequence[Waiting]]:
    """The messages that wait, by user name."""
    return {
        "orders": _waiting("ord", ORDERS, repeat=(8, 9)),
        "invoices": _waiting("inv", INVOICES),
        "support": _waiting("sup", SUPPORT),
    }


def _waiting(
    prefix: str, builders: Sequence[Callable[[int], bytes]], repeat: tuple[int, ...] = ()
) -> list[Waiting]:
    waiting = []
    for number, build in enumerate(builders, 1):
        # A server that gives one unique-id to two messages: seen after restores from backup.
        shown = repeat[0] if number in repeat else number
        waiting.append(Waiting(f"{prefix}-{shown:04}", build(number)))
    return waiting
