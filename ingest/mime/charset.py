"""From octets to text: any charset, any octets, never an error, always storable."""

from __future__ import annotations

import re
from encodings.aliases import aliases

# Codecs that Python has but that aren't charsets, or that turn text into something unsafe: UTF-7
# hides markup and yields lone surrogates. Only listed names are looked up at all, because Python
# remembers every unknown name that it was ever asked for.
_NOT_CHARSETS = {"base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec"}
_NOT_CHARSETS |= {"zlib_codec", "utf_7", "mbcs", "oem"}
_CODECS = {name: codec for name, codec in aliases.items() if codec not in _NOT_CHARSETS}
_CODECS |= {codec: codec for codec in _CODECS.values()}
# What mail calls by these names is what the superset decodes.
_CODECS |= {
    "ascii": "utf_8",
    "us_ascii": "utf_8",
    "iso_8859_1": "cp1252",
    "latin_1": "cp1252",
    "latin1": "cp1252",
    "iso_8859_8_i": "iso8859_8",
    "iso_8859_6_i": "iso8859_6",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "ks_c_5601_1987": "cp949",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "koi8_u": "koi8_u",
    "windows_874": "cp874",
    "cp874": "cp874",
    "unicode_1_1_utf_8": "utf_8",
}
# Control characters but tab, line feed and carriage return, and lone surrogates.
_UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def text_of(octets: bytes) -> str:
    """Decode octets of no declared charset: UTF-8 (RFC 6532), else octet by octet."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def decode_charset(octets: bytes, charset: str) -> str:
    """Decode octets of a declared charset; what does not decode becomes U+FFFD.

    US-ASCII and unknown charsets are read as UTF-8 where that works.
    """
    codec = _CODECS.get(charset.strip().lower().replace("-", "_"), "utf_8")
    if codec == "utf_8":
        return text_of(octets)
    return octets.decode(codec, "replace")


def clean(text: str, limit: int) -> str:
    """One line of at most `limit` characters: white space collapsed, no control characters."""
    if not text:
        return ""
    usual = limit + limit // 4  # most texts have few blanks to lose
    line = _one_line(text[:usual])
    if len(line) < limit and len(text) > usual:
        line = _one_line(text[: limit * 4])
    return line[:limit]


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if line.isprintable() else _UNSTORABLE.sub("", line)
