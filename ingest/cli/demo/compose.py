"""Builders of mail and attachments for the demo: the same octets at every call."""

from __future__ import annotations

import io
import math
import random
import struct
import wave
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from quopri import encodestring
from typing import Literal, NamedTuple

import pybase64

_MORNING = datetime(2026, 10, 5, 7, 30, tzinfo=UTC)


class Entity(NamedTuple):
    """A MIME entity (RFC 2045): header fields without line ends, and a body with CR LF."""

    fields: tuple[str, ...]
    body: bytes

    @property
    def octets(self) -> bytes:
        """The entity as it stands in a message."""
        header = "".join(f"{field}\r\n" for field in self.fields)
        return header.encode("utf-8", "surrogateescape") + b"\r\n" + self.body


def text(
    content: str,
    *,
    subtype: str = "plain",
    charset: str = "utf-8",
    encoding: Literal["7bit", "8bit", "quoted-printable", "base64"] = "8bit",
) -> Entity:
    """A text entity."""
    octets = (content.strip("\n") + "\n").replace("\n", "\r\n").encode(charset)
    if encoding == "quoted-printable":
        octets = encodestring(octets.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    elif encoding == "base64":
        octets = base64_lines(octets)
    return Entity(
        (
            f"Content-Type: text/{subtype}; charset={charset}",
            f"Content-Transfer-Encoding: {encoding}",
        ),
        octets,
    )


def attachment(
    content_type: str,
    octets: bytes,
    disposition: str,
    *fields: str,
) -> Entity:
    """A base64 entity; `disposition` is the whole value, so that file names can be odd."""
    return Entity(
        (
            f"Content-Type: {content_type}",
            "Content-Transfer-Encoding: base64",
            f"Content-Disposition: {disposition}",
            *fields,
        ),
        base64_lines(octets),
    )


def multipart(kind: str, boundary: str, *entities: Entity) -> Entity:
    """A multipart; `kind` is its subtype, with parameters where it has any."""
    opened = "".join(f"--{boundary}\r\n" for _ in entities[:1]).encode()
    between = f"\r\n--{boundary}\r\n".encode()
    body = opened + between.join(entity.octets for entity in entities)
    return Entity(
        (f'Content-Type: multipart/{kind}; boundary="{boundary}"',),
        body + f"\r\n--{boundary}--\r\n".encode(),
    )


def mail(number: int, sender: str, to: str, subject: str, entity: Entity, *fields: str) -> bytes:
    """A message, sent to that mailbox of ours so many times seven minutes into the morning."""
    domain = sender.rpartition("@")[2].rstrip(">")
    date = format_datetime(_MORNING + timedelta(minutes=7 * number))
    return Entity(
        (
            f"Received: from mx.{domain} by mail.bluewren.example with ESMTPS; {date}",
            f"From: {sender}",
            f"To: {to}@bluewren.example",
            f"Subject: {subject}",
            f"Date: {date}",
            f"Message-ID: <{to}.{number:04}@{domain}>",
            "MIME-Version: 1.0",
            *fields,
            *entity.fields,
        ),
        entity.body,
    ).octets


def base64_lines(octets: bytes) -> bytes:
    """Base64 in lines of 76, each ended by CR LF."""
    return pybase64.encodebytes(octets).replace(b"\n", b"\r\n")


def encoded_word(words: str, charset: str = "utf-8") -> str:
    """An encoded-word (RFC 2047); `words` is short enough for one."""
    return f"=?{charset}?B?{pybase64.b64encode(words.encode(charset)).decode()}?="


def pdf(*lines: str) -> bytes:
    """A one-page PDF that shows the lines."""
    shown = "".join(
        "({}) Tj T*\n".format(line.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)"))
        for line in lines
    )
    page = f"BT /F1 12 Tf 60 780 Td 18 TL\n{shown}ET".encode("latin-1", "replace")
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 /MediaBox [0 0 595 842] >>",
        b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(page), page),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    document, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(document))
        document += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    return document + (
        b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n<< /Size %d /Root 1 0 R >>\n"
        b"startxref\n%d\n%%%%EOF\n" % (size, table, size, len(document))
    )


def picture(width: int, height: int, seed: int) -> bytes:
    """A PNG: an evening sky, grainy enough not to compress away."""
    grain = random.Random(seed)  # noqa: S311 - pixels, not secrets
    rows = bytearray()
    for y in range(height):
        red, green = 255 - 120 * y // height, 140 - 90 * y // height
        noise = grain.randbytes(width)
        rows.append(0)
        for x in range(width):
            rows += bytes((red, green + noise[x] // 8, noise[x]))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def tone(seconds: int) -> bytes:
    """A WAV file with a steady tone, for a voice message."""
    period = bytes(128 + round(90 * math.sin(2 * math.pi * step / 20)) for step in range(20))
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(period * (seconds * 8000 // len(period)))
    return target.getvalue()


def archive(octets: int, seed: int) -> bytes:
    """Octets that look compressed, as an archive's do."""
    return random.Random(seed).randbytes(octets)  # noqa: S311 - filler, not secrets
