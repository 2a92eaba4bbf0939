"""A server's words, fit for a log or an error: it may echo what it was told."""

from __future__ import annotations

import re
from typing import Final

MAX_QUOTED: Final = 200  # characters of a server's text in an error

_ADDRESS = re.compile(r"[^\s<>()\[\],;:\"']+@[^\s<>()\[\],;:\"']+")
_CONTROL = re.compile(r"[^\x20-\x7e]+")


class Quoting:
    """Hides what is private.

    Args:
        username: hidden where it stands as a word.
        secrets: hidden wherever they stand, together with what goes on as base64 does.
    """

    def __init__(self, username: str, secrets: tuple[str, ...]) -> None:
        hidden = [rf"{re.escape(secret)}[\w+/=]*" for secret in secrets if secret]
        hidden += [rf"(?<!\w){re.escape(username)}(?!\w)"] if username else []
        self._private = re.compile("|".join(hidden) or r"(?!)", re.IGNORECASE)

    def quoted(self, text: str) -> str:
        """The words without addresses, anything private and controls, and not too many."""
        text = self._private.sub("<private>", text)
        text = _CONTROL.sub(" ", _ADDRESS.sub("<address>", text)).strip()
        return text[:MAX_QUOTED]
