"""A short text of a body, for people who look at an event."""

from __future__ import annotations

import html

from ingest.mime.charset import clean, decode_charset

_CONSIDERED = 16 * 1024  # octets of a body that are looked at
_UNSEEN = {"script", "style", "head", "title"}


def preview(octets: bytes, charset: str, limit: int = 400, *, is_html: bool = False) -> str:
    """The first characters of a text body: one line, no control characters, no markup.

    The result is text, not HTML: whoever shows it in a page escapes it.
    """
    text = decode_charset(octets[:_CONSIDERED], charset)
    if is_html:
        text = html.unescape(_without_tags(text))
    return clean(text, limit).removesuffix("\N{REPLACEMENT CHARACTER}")


def _without_tags(text: str) -> str:
    """Drop tags, comments, and what scripts and style sheets hold; crude, but linear."""
    first, *pieces = text.split("<")
    seen = [first]
    unseen = ""
    for piece in pieces:
        tag, _, after = piece.partition(">")
        words = tag.split(None, 1)
        name = words[0].lower() if words else ""
        if unseen:
            if name == f"/{unseen}":
                unseen = ""
            else:
                continue
        elif name in _UNSEEN:
            unseen = name
            continue
        seen.append(after)
    return " ".join(seen)
