"""Header blocks to fields (RFC 5322), encoded words (RFC 2047), parameters (RFC 2045, RFC 2231).

Nothing here raises: what can't be read is left as it came. Work is linear in the block, whose
octets the splitter has capped.
"""

from __future__ import annotations

import binascii
import re
from itertools import islice
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from ingest.mime.charset import decode_charset, text_of
from ingest.mime.events import Field

# A field with its folded lines, or else a line that is none.
_LINES = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)\n?|[^\n]++\n?|\n")
_ENCODED_WORD = re.compile(r"=\?([^?\s*]{1,40})(?:\*[^?\s]{0,40})?\?([bBqQ])\?([^?]*)\?=")
_PARAMETER = re.compile(
    r';\s*([^\s=;"]{1,80})\s*=\s*(?:"((?:[^"\\]++|\\.)*+)"?|([^;]*))', re.DOTALL
)
_ESCAPE = re.compile(r'\\(["\\])')
_COMMENT = re.compile(r"[\s(].*", re.DOTALL)


class Block(NamedTuple):
    """A header block, parsed."""

    fields: tuple[Field, ...]
    invalid_lines: int  # lines that are no field and continue none
    more: bool  # there were more fields than the limit


def parse(block: bytes, limit: int) -> Block:
    """Split a header block into at most `limit` fields. CR LF and LF both end lines."""
    lines = _LINES.findall(block.replace(b"\r\n", b"\n"))
    named = [each for each in lines if each[0]]
    fields = [
        Field(name.lower().decode("ascii"), raw.replace(b"\n", b"").strip())
        for name, raw in named[:limit]
    ]
    return Block(tuple(fields), len(lines) - len(named), len(named) > limit)


def decode_words(text: str) -> str:
    """Decode the encoded words in a text (RFC 2047), those inside quotes and words too.

    Neighbours of one charset are joined before they are decoded: many mailers cut characters apart.
    """
    if "=?" not in text:
        return text
    out: list[str] = []
    octets: list[bytes] = []
    charset, end = "", 0
    for word in _ENCODED_WORD.finditer(text):
        between = text[end : word.start()]
        apart = not charset or between.strip() != ""
        if apart or word[1].lower() != charset:
            out.append(decode_charset(b"".join(octets), charset))
            octets.clear()
        if apart:
            out.append(between)
        charset, end = word[1].lower(), word.end()
        octets.append(_word_octets(word[2], word[3]))
    out.append(decode_charset(b"".join(octets), charset))
    out.append(text[end:])
    return "".join(out)


def _word_octets(encoding: str, encoded: str) -> bytes:
    """What the encoded-text of an encoded word decodes to."""
    octets = encoded.encode("utf-8", "replace")
    if encoding in "qQ":
        return unquote_to_bytes(
            octets.replace(b"%", b"=25").replace(b"_", b" ").replace(b"=", b"%")
        )
    try:
        return binascii.a2b_base64(octets + b"==")
    except binascii.Error:
        return octets


def parameters(raw: bytes, limit: int) -> tuple[str, dict[str, str]]:
    """Split a field body into its value, lower-case, and at most `limit` parameters.

    Octets are mapped one to one to characters (latin-1). The first of two parameters of one name
    counts.
    """
    text = raw.decode("latin-1")
    value, semicolon, rest = text.partition(";")
    if "=" in value and len(words := value.split(None, 1)) > 1:  # the first semicolon is missing
        value, semicolon = words[0], ";"
        text = f"{value};{words[1]};{rest}"
    found: dict[str, str] = {}
    if semicolon:
        for match in islice(_PARAMETER.finditer(text, len(value)), limit):
            quoted, token = match[2], match[3]
            body = token.strip() if quoted is None else _ESCAPE.sub(r"\1", quoted)
            found.setdefault(match[1].lower(), body)
    return _COMMENT.sub("", value.strip()).lower(), found


def token(parameter: str) -> str:
    """A parameter's value up to white space or a comment."""
    return _COMMENT.sub("", parameter)


def parameter_text(found: dict[str, str], name: str) -> tuple[str, str]:
    """A parameter's text, decoded (RFC 2231, RFC 2047), and as it came.

    The extended form is preferred to the plain one, as RFC 6266 has it too.
    """
    if not found:
        return "", ""
    if (raw := found.get(f"{name}*")) is not None:
        octets, charset = _extended(raw)
        return decode_charset(octets, charset), text_of(raw.encode("latin-1"))
    if f"{name}*0" in found or f"{name}*0*" in found:
        return _continued(found, name)
    raw = text_of(found.get(name, "").encode("latin-1"))
    return decode_words(raw), raw


def _extended(raw: str) -> tuple[bytes, str]:
    """The octets and the charset of charset'language'percent-encoded (RFC 2231 section 4)."""
    marks = raw.split("'", 2)
    charset = marks[0] if marks[2:] else ""
    return unquote_to_bytes(
        marks[-1].encode("latin-1") if charset else raw.encode("latin-1")
    ), charset


def _continued(found: dict[str, str], name: str) -> tuple[str, str]:
    """Join the segments name*0, name*1*, ... (RFC 2231 section 3)."""
    octets: list[bytes] = []
    raws: list[str] = []
    charset = ""
    for index in range(len(found)):
        if (raw := found.get(f"{name}*{index}*")) is not None:
            if index == 0:
                segment, charset = _extended(raw)
            else:
                segment = unquote_to_bytes(raw.encode("latin-1"))
        elif (raw := found.get(f"{name}*{index}")) is not None:
            segment = raw.encode("latin-1")
        else:
            break
        octets.append(segment)
        raws.append(raw)
    joined = b"".join(octets)
    text = decode_charset(joined, charset) if charset else decode_words(text_of(joined))
    return text, text_of("".join(raws).encode("latin-1"))
