"""Address lists (RFC 5322 section 3.4), read as they come and not as they should be."""

from __future__ import annotations

import re

from ingest.mime.charset import clean
from ingest.mime.header import decode_words

_MAX_ADDRESSES = 200  # of one field
_MAX_CHARACTERS = 320  # of an address, and of a name
_CONSIDERED = 64 * 1024  # characters of one field
_TOKEN = re.compile(
    r'"((?:[^"\\]++|\\.)*+)"?'  # 1: quoted string
    r"|\(((?:[^()\\]++|\\.)*+)\)?"  # 2: comment
    r"|<([^<>]*)>?"  # 3: address
    r"|([,;:])"  # 4: separator
    r'|([^\s"(<,;:]+)'  # 5: atoms and dots
    r"|\s+",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_SPECIAL = re.compile(r'[()<>\[\]:;@\\,."]')


def addresses(text: str) -> tuple[str, ...]:
    """The mailboxes of an address list, each as `Name <local@domain>` or `local@domain`.

    A name with specials is quoted, so the result can be parsed again. Groups (RFC 5322 section
    3.4) give their members. At most 200 are read.
    """
    if not text:
        return ()
    found: list[str] = []
    words: list[str] = []
    comment = address = ""
    for match in _TOKEN.finditer(text[:_CONSIDERED]):
        quoted, remark, angle, separator, atom = match.groups()
        if atom is not None:
            words.append(atom)
        elif quoted is not None:
            words.append(_ESCAPE.sub(r"\1", quoted))
        elif angle is not None:
            address = angle.rpartition(":")[2]  # an obsolete route ends in a colon
        elif remark is not None:
            comment = comment or remark
        elif separator == ":":  # the name of a group
            words.clear()
        elif separator:
            _add(found, words, address, comment)
            words, comment, address = [], "", ""
            if len(found) >= _MAX_ADDRESSES:
                return tuple(found)
    _add(found, words, address, comment)
    return tuple(found)


def _add(found: list[str], words: list[str], address: str, comment: str) -> None:
    """Put one mailbox together: of words and angle address, or of bare address and comment."""
    name = " ".join(words)
    if not address:
        bare = "".join(words)
        if "@" in bare and "<" not in bare:
            address, name = bare, comment
    address = clean(address, _MAX_CHARACTERS).replace(" ", "")
    name = clean(decode_words(name), _MAX_CHARACTERS)
    if _SPECIAL.search(name):
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if name and address:
        found.append(f"{name} <{address}>")
    elif name or address:
        found.append(name or address)
