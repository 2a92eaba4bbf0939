"""The names of all damage and excess that the MIME layer reports, in one place."""

from __future__ import annotations

from typing import Literal, TypeAlias

from ingest.model import Defect

DefectName: TypeAlias = Literal[
    "header-line-invalid",  # a header line that is no field and continues none
    "header-unterminated",  # a line that begins with "--" ended it, not a blank line
    "header-octets-limit",  # a header block too long: the entity is opaque
    "header-fields-limit",  # too many fields: the entity is opaque
    "content-type-invalid",  # not type/subtype: taken as the default type (RFC 2045 section 5.2)
    "encoding-unknown",  # a Content-Transfer-Encoding we don't decode
    "container-encoded",  # a multipart or message in base64 or quoted-printable: opaque
    "multipart-without-boundary",  # also an empty or overlong one: opaque
    "multipart-without-parts",  # no delimiter was found
    "multipart-unterminated",  # ended by an outer delimiter or by the end of the message
    "depth-limit",  # a container too deep: opaque
    "parts-limit",  # too many entities: the rest of the message is opaque
    "base64-junk",  # characters outside the alphabet
    "base64-after-padding",  # more characters after "="
    "base64-truncated",  # the last quantum lacks characters or padding
    "base64-irregular",  # too irregular to be rebuilt from what it decodes to
    "quoted-printable-invalid",  # "=" followed by neither two hexadecimal digits nor a line end
]


def defect(name: DefectName, part: str, note: str = "") -> Defect:
    """A defect of that part; `note` holds numbers and names of fields, never content."""
    return Defect(name, part, note)
