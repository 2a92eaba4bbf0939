"""A file name from a message, made safe to display and to save under."""

from __future__ import annotations

import re

_MAX_OCTETS = 200  # in UTF-8; file systems allow 255, and a saver may add to it
_MAX_SUFFIX = 20  # characters of a suffix that is kept when the name is cut
_CONSIDERED = 4_000  # characters of the raw name that are looked at
_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9 _.,()+-]{0,98}[A-Za-z0-9_)-]")
_RESERVED_CHARACTERS = re.compile(r'[<>:"|?*]')
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])\s*(?:\.|\Z)", re.IGNORECASE)


def safe_filename(text: str) -> str:
    """Make a name of at most 200 octets that shows what it is and stays in its folder.

    No path parts, control or bidi characters, characters or device names that Windows reserves,
    dots or spaces at either end. Empty where nothing is left.
    """
    if _PLAIN.fullmatch(text) and "  " not in text and not _DEVICE.match(text):
        return text
    text = text[-_CONSIDERED:]
    # Not printable are controls, format characters (bidi overrides, zero width), lone surrogates,
    # separators, and what Unicode has not assigned.
    text = "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text)
    text = text.replace("\\", "/").rstrip("/ .").rpartition("/")[2]
    text = _RESERVED_CHARACTERS.sub("_", " ".join(text.split())).strip(". ")
    if _DEVICE.match(text):
        text = f"_{text}"
    return _cut(text)


def _cut(name: str) -> str:
    """Cut a name to the limit, in its stem."""
    if len(name.encode()) <= _MAX_OCTETS:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix) > _MAX_SUFFIX:
        stem, dot, suffix = name, "", ""
    room = _MAX_OCTETS - len((dot + suffix).encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(". ") + dot + suffix
