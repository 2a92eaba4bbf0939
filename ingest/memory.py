"""What the C library and the garbage collector are told about memory."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Larger than any block that is taken and given back for each piece of a message.
_KEPT_OCTETS = 2 * 1024 * 1024
_M_ARENA_MAX = -8  # <malloc.h>


def tune() -> None:
    """Keep the blocks that messages pass through, in one heap. To be called before threads start.

    glibc returns a freed block of over 128 KiB to the system, and the next one costs page faults:
    half the time of a large message. Once it has seen a larger block freed, it keeps those below.
    A heap for each thread would keep as much again, though one thread at a time runs Python.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # glibc's alone
        mallopt(_M_ARENA_MAX, 1)
    bytearray(_KEPT_OCTETS)


@contextmanager
def importing() -> Iterator[None]:
    """Import without the garbage collector, and let it pass over what was imported ever after.

    Modules stay, so that looking through them finds nothing; it took a fifth of a short command.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
