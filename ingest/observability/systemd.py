"""Telling systemd how this process is (sd_notify), where systemd asks for it.

A unit of `Type=notify` is up when its process says so, and one with `WatchdogSec=` is restarted
when its process no longer says that all is well.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"


def tell(state: str) -> None:
    """Say it; nothing happens where nobody listens."""
    # systemd's own variable, no setting of ours: who starts us without it never hears of this.
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(state.encode(), address)
