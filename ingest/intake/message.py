"""One message on its way in: octets to skeleton, parts, splice program and record."""

from __future__ import annotations

import hashlib
import traceback
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from ingest.errors import IngestError, ProofFailed
from ingest.events.schema import ingested
from ingest.intake.batch import Batch
from ingest.intake.ports import Log, PartWriter
from ingest.intake.probe import Recognition
from ingest.intake.skeleton import SkeletonWriter
from ingest.mime.envelope import envelope
from ingest.mime.events import (
    Body,
    Event,
    Found,
    HeaderBlock,
    PartBegin,
    PartEnd,
    PartHeader,
    Skeletal,
)
from ingest.mime.splice import ProgramBuilder
from ingest.mime.splitter import Splitter
from ingest.mime.text import preview
from ingest.model import (
    NOT_PARSED,
    Defect,
    Envelope,
    Listed,
    Octets,
    Part,
    Probe,
    Record,
    record_id,
)
from ingest.observability import tracing
from ingest.pop3 import headers

_PREVIEW_CHARACTERS = 400
_PREVIEW_OCTETS = 4096  # of the body; a text has markup and white space too

# Fewer octets than this wait for more: a piece that is held back costs 400 octets of its own, and a
# server may send a message octet by octet.
_CRUMB = 4096

# Raw octets held back beyond twice the threshold.
_SLACK = 64 * 1024


class Thresholds(NamedTuple):
    """From which decoded size a part becomes an object of its own."""

    part: int
    text: int  # for text bodies that are no attachment


class Unparsable(Exception):
    """The MIME parser broke on this message: a bug of ours. The message is stored unparsed."""


def described(error: Unparsable) -> dict[str, object]:
    """What broke, and where: without the exception's text, which may quote the message."""
    cause = error.__cause__
    frames = traceback.extract_tb(cause.__traceback__ if cause else None)
    return {
        "error": type(cause).__name__,
        "frames": [f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in frames],
    }


class Draft:
    """A message while its octets come in. Leaving the block without `commit` discards it.

    Args:
        batch: where its objects go.
        thresholds: which parts become objects.
        parse: False stores the octets as they are, without looking into them.
        recognise: tells a canary's probe by its header; None: there are none.
    """

    def __init__(
        self,
        batch: Batch,
        thresholds: Thresholds,
        *,
        parse: bool = True,
        recognise: Recognition | None = None,
    ) -> None:
        self.octets = 0
        self.defects: list[Defect] = [] if parse else [Defect(NOT_PARSED)]
        self._batch = batch
        self._thresholds = thresholds
        self._splitter = Splitter() if parse else None
        self._sha256 = hashlib.sha256()
        self._header = headers.HeaderBlock()
        self._crumbs = bytearray()
        self._writers = ExitStack()
        self._finished: list[str] = []  # objects of a message that is not committed
        self._skeleton = SkeletonWriter(batch, self._writers)
        self._program = ProgramBuilder()
        self._envelope = Envelope()
        self._recognise = recognise
        self._probe: Probe | None = None
        self._preview = ""
        self._parts: list[Part] = []
        self._leaf: _Leaf | None = None

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Abort the objects that were not finished, and discard the others, without `commit`."""
        self._writers.close()
        for key in self._finished:
            self._batch.discard(key)

    def feed(self, octets: memoryview) -> None:
        """Take in the next octets.

        Raises:
            Unparsable: the parser broke.
            StoreError: an object could not be written.
        """
        self._sha256.update(octets)
        self._header.feed(octets)
        self.octets += len(octets)
        if len(octets) < _CRUMB:
            self._crumbs += octets
            if len(self._crumbs) >= _CRUMB:
                self._take_crumbs()
        else:
            self._take_crumbs()
            self._parse(octets)

    def end(self) -> None:
        """The message is here whole.

        Raises:
            Unparsable: the parser broke.
            StoreError: an object could not be written.
            ProofFailed: the splice program would not give all octets back.
        """
        self._take_crumbs()
        self._parse(None)
        if self._program.octets != self.octets:
            proof = ProofFailed(
                f"a message of {self.octets} octets would be rebuilt with {self._program.octets}"
            )
            if self._splitter is None:
                raise proof
            raise Unparsable from proof

    def _take_crumbs(self) -> None:
        crumbs, self._crumbs = self._crumbs, bytearray()
        if crumbs:
            self._parse(crumbs)

    def _parse(self, octets: Octets | None) -> None:
        """Take in the next octets, or (None) that there are no more."""
        if self._splitter is None:
            self._copy(octets or b"")
            return
        try:
            events = self._splitter.close() if octets is None else self._splitter.feed(octets)
            for event in events:
                self._take(event)
        except IngestError:
            raise
        except Exception as error:
            raise Unparsable from error

    def record_id(self, mailbox: str, *, rehearsal: bool) -> str:
        """The id that the record has or will have."""
        return record_id(mailbox, self._sha256.hexdigest(), rehearsal=rehearsal)

    def commit(
        self,
        *,
        identity: str,
        mailbox_id: str,
        tenant: str,
        listed: Listed,
        retrieved_at: datetime,
        deployment: str,
        rehearsal: bool = False,
        version_of: str = "",
        objects: Log,
    ) -> tuple[Record, bytes | None]:
        """Complete the objects, and make the record with its events.

        The objects are durable when the batch is. Returns the record and its skeleton, None where
        that is an object of its own.
        """
        sha256 = self._sha256.hexdigest()
        skeleton, octets = self._skeleton.commit(self.octets, sha256)
        header = self._header.octets()
        record = Record(
            id=identity,
            mailbox=mailbox_id,
            tenant=tenant,
            batch=self._batch.id,
            index=len(self._batch.members),
            unique_id=listed.unique_id,
            listed_octets=listed.octets,
            octets=self.octets,
            sha256=sha256,
            header_sha256="" if header is None else hashlib.sha256(header).hexdigest(),
            retrieved_at=retrieved_at,
            skeleton=skeleton,
            program=self._program.program,
            envelope=self._envelope,
            preview=self._preview,
            parts=tuple(self._parts),
            defects=tuple(self.defects),
            rehearsal=rehearsal,
            version_of=version_of,
        )
        event = ingested(
            record,
            deployment=deployment,
            dataref=objects.record_uri(record.batch, record.index),
            uri=objects.uri,
            session=self._batch.session,
            traceparent=tracing.traceparent(),
            probe=self._probe,
        )
        self._finished.clear()
        return msgspec.structs.replace(record, events=(event,)), octets

    def _take(self, event: Event) -> None:
        """Take in one event of the splitter."""
        match event:
            case Body():
                self._take_body(event)
            case Skeletal(octets):
                self._copy(octets)
            case PartBegin(header):
                self._leaf = leaf = _Leaf(header, len(self._parts), self._thresholds)
                if leaf.ripe:
                    self._extract(leaf)
            case PartEnd(_, encoded_octets, _):
                self._end_part(encoded_octets)
            case HeaderBlock("", fields):
                self._envelope = envelope(fields)
                self._probe = self._recognise(fields) if self._recognise else None
            case Found(defect):
                self.defects.append(defect)

    def _take_body(self, body: Body) -> None:
        leaf = self._leaf
        assert leaf is not None  # noqa: S101 - a body stands between its part's begin and end
        leaf.sha256.update(body.decoded)
        if leaf.octets < _PREVIEW_OCTETS:
            leaf.head += body.decoded[: _PREVIEW_OCTETS - leaf.octets]
        leaf.octets += len(body.decoded)
        if leaf.writer is not None:
            self._splice(leaf, leaf.writer, body)
            return
        leaf.held.append(body)
        leaf.held_octets += len(body.raw)
        if leaf.ripe:
            self._extract(leaf)

    def _extract(self, leaf: _Leaf) -> None:
        """Open an object for the part, and write what was held back of it."""
        leaf.writer = self._writers.enter_context(self._batch.create_part())
        for body in leaf.held:
            self._splice(leaf, leaf.writer, body)
        leaf.held.clear()

    def _splice(self, leaf: _Leaf, writer: PartWriter, body: Body) -> None:
        """Write decoded octets to the part, and how the raw ones are had back to the program."""
        writer.write(body.decoded)
        if self._program.body(leaf.number, body.rebuild, len(body.raw), len(body.decoded)):
            self._skeleton.write(body.raw)

    def _end_part(self, encoded_octets: int) -> None:
        leaf, self._leaf = self._leaf, None
        assert leaf is not None  # noqa: S101 - a part that ends has begun
        for body in leaf.held:
            self._copy(body.raw)
        if leaf.writer is not None:
            # Now, not with the message: an open writer holds a block of the upload buffers.
            self._batch.await_part(leaf.writer.commit())
            self._finished.append(leaf.writer.key)
        header = leaf.header
        if not self._preview and leaf.is_text_body:
            is_html = header.content_type == "text/html"
            text = bytes(leaf.head)
            self._preview = preview(text, header.charset, _PREVIEW_CHARACTERS, is_html=is_html)
        self._parts.append(
            Part(
                path=header.path,
                content_type=header.content_type,
                charset=header.charset,
                disposition=header.disposition,
                filename=header.filename,
                filename_raw=header.filename_raw,
                content_id=header.content_id,
                encoding=header.encoding,
                encoded_octets=encoded_octets,
                octets=leaf.octets,
                sha256=leaf.sha256.hexdigest(),
                key=leaf.writer.key if leaf.writer else "",
            )
        )

    def _copy(self, octets: Octets) -> None:
        """To the skeleton."""
        self._skeleton.write(octets)
        self._program.copy(len(octets))


class _Leaf:
    """A part while its body comes in: held back until it is large enough for an object."""

    def __init__(self, header: PartHeader, number: int, thresholds: Thresholds) -> None:
        self.header = header
        self.is_text_body = header.content_type.startswith("text/") and not header.is_attachment
        self.number = number
        self.octets = 0  # decoded
        self.sha256 = hashlib.sha256()
        self.head = bytearray()  # the first decoded octets, for the preview
        self.held: list[Body] = []
        self.held_octets = 0  # raw
        self.writer: PartWriter | None = None
        self._threshold = thresholds.text if self.is_text_body else thresholds.part

    @property
    def ripe(self) -> bool:
        """Whether it is large enough.

        Raw octets count too, since any number of them may decode to nothing.
        """
        return self.octets >= self._threshold or self.held_octets >= 2 * self._threshold + _SLACK
