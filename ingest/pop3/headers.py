"""The header block of a message, the same whether it came by TOP n 0 or as the start of RETR.

Its hash is evidence that a unique-id still names the message that was stored, so both ways must
come to the same octets.
"""

from __future__ import annotations

import re

from ingest.model import Octets

MAX_HEADER_BLOCK_OCTETS = 1024 * 1024

_EMPTY_LINE = re.compile(rb"(?:\A|\n)\r?\n")
_LONGEST_EMPTY_LINE = 3  # LF CR LF


class HeaderBlock:
    """Collects the octets up to and with the first empty line.

    Lines end in CR LF or LF. Where a message ends before an empty line, or a server leaves it
    out of its answer to TOP, CR LF is added, so that the two come to the same.
    """

    def __init__(self, max_octets: int = MAX_HEADER_BLOCK_OCTETS) -> None:
        self._max_octets = max_octets
        self._collected = bytearray()
        self.complete = False  # nothing more is taken in

    def feed(self, octets: Octets) -> None:
        """Take in the next octets of the message; those behind the block are ignored."""
        if self.complete:
            return
        searched = max(0, len(self._collected) - _LONGEST_EMPTY_LINE + 1)
        # One octet more than the limit shows that it is exceeded.
        self._collected += memoryview(octets)[: self._max_octets + 1 - len(self._collected)]
        if found := _EMPTY_LINE.search(self._collected, searched):
            del self._collected[found.end() :]
            self.complete = True
        elif len(self._collected) > self._max_octets:
            self.complete = True

    def octets(self) -> bytes | None:
        """The block; None: it is over the limit."""
        block = bytes(self._collected)
        if not self.complete:
            block += b"\r\n"
        return block if len(block) <= self._max_octets else None
