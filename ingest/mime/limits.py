"""Every limit of the MIME layer, by name. Past one, what follows is opaque and a defect says so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How much structure one message may have, and how much of its header is looked at."""

    depth: int = 50  # multiparts and messages inside one another
    parts: int = 1_000  # entities of any kind, leaves and containers
    header_octets: int = 256 * 1024  # of one entity's header block
    header_fields: int = 1_000  # of one entity
    parameters: int = 100  # of one Content-Type or Content-Disposition
    boundary_octets: int = 256  # RFC 2046 allows 70
    delimiter_octets: int = 1_024  # of a delimiter line, padding and line end included
    base64_line_octets: int = 1_024  # of a base64 line that can be rebuilt, line end included
    base64_breaks: int = 200  # changes of line length and irregular lines of one base64 body
    base64_paddings: int = 1_000  # "=" of one base64 body that end a quantum; more are ignored
    splice_steps: int = 4_000  # of one splice program


DEFAULT = Limits()
