"""What an entity's header makes of it: a leaf, a multipart, or an embedded message."""

from __future__ import annotations

import re

import msgspec

from ingest.mime.charset import clean, text_of
from ingest.mime.defects import DefectName
from ingest.mime.events import Field, PartHeader
from ingest.mime.filename import safe_filename
from ingest.mime.header import parameter_text, parameters, token
from ingest.mime.limits import Limits

_TYPE = re.compile(r"[a-z0-9!#$&^_.+*'%-]{1,127}/[a-z0-9!#$&^_.+*'%-]{1,127}")
_TOKEN = re.compile(r"[a-z0-9_.:+-]{1,60}")
_IDENTITY = {"7bit", "8bit", "binary"}
_ENCODED = {"base64", "quoted-printable"}
_MESSAGES = {"message/rfc822", "message/global", "message/news"}
_MAX_RAW = 2_000  # characters of a raw file name, and of what a safe one is made from
_MAX_ID = 500  # characters


class Entity(msgspec.Struct, frozen=True, gc=False):
    """An entity (RFC 2045 section 2.4), described by its header."""

    header: PartHeader
    boundary: bytes = b""  # of a multipart that can be descended into
    is_message: bool = False  # an embedded message that can be descended into
    defects: tuple[DefectName, ...] = ()


def describe(fields: tuple[Field, ...], path: str, default_type: str, limits: Limits) -> Entity:
    """Read the fields that say what an entity is; `path` and `default_type` are its place's."""
    first: dict[str, bytes] = {}
    for name, raw in fields:
        if name.startswith("content-") and name not in first:
            first[name] = raw
    defects: list[DefectName] = []
    content_type = default_type
    of_type: dict[str, str] = {}
    if "content-type" in first:
        content_type, of_type = parameters(first["content-type"], limits.parameters)
        if not _TYPE.fullmatch(content_type):
            content_type = default_type
            defects.append("content-type-invalid")
    encoding = _encoding(first)
    if encoding not in _IDENTITY and encoding not in _ENCODED:
        defects.append("encoding-unknown")
    boundary, is_message = _container(content_type, encoding, of_type, limits, defects)
    disposition, name, raw_name = _naming(first, of_type, limits)
    header = PartHeader(
        path,
        content_type,
        charset=_charset(of_type),
        disposition=disposition,
        filename=safe_filename(name[-_MAX_RAW:]) if name else "",
        filename_raw=clean(raw_name, _MAX_RAW),
        content_id=clean(text_of(first.get("content-id", b"")[:_MAX_ID]).strip("<> "), _MAX_ID),
        encoding=encoding,
        is_attachment=disposition == "attachment"
        or raw_name != ""
        or not content_type.startswith("text/"),
    )
    return Entity(header, boundary, is_message, tuple(defects))


def _encoding(first: dict[str, bytes]) -> str:
    """The content transfer encoding: 7bit where there is none (RFC 2045 section 6.1)."""
    if not (raw := first.get("content-transfer-encoding")):
        return "7bit"
    found = _TOKEN.match(raw.decode("latin-1").lower())
    return found[0] if found else "unknown"


def _container(
    content_type: str,
    encoding: str,
    of_type: dict[str, str],
    limits: Limits,
    defects: list[DefectName],
) -> tuple[bytes, bool]:
    """The boundary, and whether it is a message: neither is where it can't be descended into."""
    is_message = content_type in _MESSAGES
    if not is_message and not content_type.startswith("multipart/"):
        return b"", False
    if encoding in _ENCODED:
        defects.append("container-encoded")
        return b"", False
    if is_message:
        return b"", True
    boundary = of_type.get("boundary", "").rstrip().encode("latin-1")
    if not 0 < len(boundary) <= limits.boundary_octets or b"\n" in boundary:
        defects.append("multipart-without-boundary")
        return b"", False
    return boundary, False


def _charset(of_type: dict[str, str]) -> str:
    charset = token(of_type.get("charset", "")).lower()
    return charset if _TOKEN.fullmatch(charset) else ""


def _naming(
    first: dict[str, bytes], of_type: dict[str, str], limits: Limits
) -> tuple[str, str, str]:
    """The disposition (RFC 2183), and the file name, decoded and as it came."""
    disposition, name, raw_name = "", "", ""
    if "content-disposition" in first:
        raw = first["content-disposition"]
        disposition, of_disposition = parameters(raw, limits.parameters)
        found = _TOKEN.match(disposition)
        disposition = found[0] if found else ""
        name, raw_name = parameter_text(of_disposition, "filename")
    if not raw_name:
        name, raw_name = parameter_text(of_type, "name")
    return disposition, name, raw_name
