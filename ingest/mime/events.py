"""What the splitter says of the octets it is fed.

`Skeletal.octets` and `Body.raw`, concatenated in the order of their events, are the input, octet
for octet. Views are over immutable blocks: they stay valid for as long as they are kept, but keep
up to 256 KiB each alive.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from ingest.model import Defect


class Field(NamedTuple):
    """One header field (RFC 5322 section 2.2)."""

    name: str  # lower-case
    raw: bytes  # the body: unfolded, white space around it removed, not decoded


class Copied(Enum):
    """How a piece of a body that isn't regular base64 is had back."""

    COPY = "copy"  # only by keeping its raw octets
    IDENTITY = "identity"  # what it decodes to is what came


COPY = Copied.COPY
IDENTITY = Copied.IDENTITY


class Base64Lines(NamedTuple):
    """The piece is proven to be the base64 of what it decodes to, in full lines of one length.

    Proven means: encoding the decoded octets again gave the characters that came, and every line
    end stands where it must. The number of decoded octets is a multiple of `octets`.
    """

    line_length: int  # characters without the line end; a multiple of four
    line_end: Literal["crlf", "lf"]

    @property
    def octets(self) -> int:
        """What one line decodes to."""
        return self.line_length // 4 * 3


Rebuild: TypeAlias = Copied | Base64Lines


class PartHeader(msgspec.Struct, frozen=True, gc=False):
    """What the header of a leaf says of it. All text is bounded and safe to store."""

    path: str  # IMAP body section number (RFC 3501 section 6.4.5), e.g. "1.2"
    content_type: str = "application/octet-stream"
    charset: str = ""  # as it was given, lower-case
    disposition: str = ""
    filename: str = ""  # safe to display
    filename_raw: str = ""  # the parameter as it came
    content_id: str = ""  # without angle brackets
    encoding: str = "binary"
    is_attachment: bool = False  # a hint: it has a name, says so, or isn't text


class Skeletal(msgspec.Struct, frozen=True, gc=False):
    """Octets outside of leaf bodies: headers, delimiter lines, preambles, epilogues."""

    octets: memoryview


class HeaderBlock(msgspec.Struct, frozen=True, gc=False):
    """The header of the message, or of an embedded one, has ended."""

    path: str  # empty for the message; else the section number of the embedded message
    fields: tuple[Field, ...]


class PartBegin(msgspec.Struct, frozen=True, gc=False):
    """A leaf begins: its bodies follow."""

    header: PartHeader


class Body(msgspec.Struct, frozen=True, gc=False):
    """A piece of the body of the leaf that began last."""

    raw: memoryview  # as it came
    decoded: bytes | memoryview  # by the content transfer encoding
    rebuild: Rebuild


class PartEnd(msgspec.Struct, frozen=True, gc=False):
    """The leaf has ended."""

    path: str
    encoded_octets: int
    decoded_octets: int


class Found(msgspec.Struct, frozen=True, gc=False):
    """Damage, or a limit that was reached."""

    defect: Defect


Event: TypeAlias = Skeletal | HeaderBlock | PartBegin | Body | PartEnd | Found
