"""Events: small, whole, and the same for the same record."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec

from ingest.events.schema import INGESTED, MAX_OCTETS, PROBED, CloudEvent, ingested, json_schema
from ingest.model import Defect, Envelope, Part, Probe, Record, Skeleton, StoredEvent


def record(**changes: object) -> Record:
    whole = Record(
        id="r" * 32,
        mailbox="mb-1",
        tenant="acme",
        batch="01J00000000000000000000000",
        index=7,
        unique_id="u1",
        listed_octets=10,
        octets=10,
        sha256="0" * 64,
        header_sha256="",
        retrieved_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        skeleton=Skeleton(10, "0" * 64),
        program=(("copy", 10),),
        envelope=Envelope(subject="Invoice 17", sender=("a@example.org",)),
    )
    return msgspec.structs.replace(whole, **changes)


def event(of: Record) -> StoredEvent:
    return ingested(of, deployment="d", dataref="file:///r", uri=lambda key: f"file:///{key}")


def test_an_event_is_a_cloud_event_with_references_and_facts() -> None:
    part = Part(
        path="2",
        content_type="application/pdf",
        filename="a.pdf",
        encoded_octets=4,
        octets=3,
        sha256="1" * 64,
        key="k",
    )
    decoded = msgspec.json.decode(event(record(parts=(part,))).json)
    assert decoded["specversion"] == "1.0"
    assert decoded["source"] == "/mail-ingest/d/mailboxes/mb-1"
    assert decoded["data"]["envelope"]["subject"] == "Invoice 17"
    assert decoded["data"]["parts"] == [
        {
            "path": "2",
            "content_type": "application/pdf",
            "filename": "a.pdf",
            "octets": 3,
            "sha256": "1" * 64,
            "uri": "file:///k",
        }
    ]


def test_the_id_depends_on_record_and_type_alone() -> None:
    assert event(record()).id == event(record(batch="01J00000000000000000000001", index=0)).id
    assert event(record()).id != event(record(id="s" * 32)).id


def test_sequences_of_a_batch_sort_as_text() -> None:
    sequences = [
        msgspec.json.decode(event(record(index=index)).json, type=CloudEvent).sequence
        for index in (2, 10, 100)
    ]
    assert sequences == sorted(sequences)


def test_what_does_not_fit_is_left_out_and_dataref_stays() -> None:
    hostile = record(
        envelope=Envelope(subject="\x00" * 50_000, to=("x" * 100,) * 10_000),
        defects=(Defect("x", note="y" * 100),) * 1_000,
    )
    stored = event(hostile)
    assert len(stored.json.encode()) <= MAX_OCTETS
    decoded = msgspec.json.decode(stored.json, type=CloudEvent)
    assert decoded.data.shortened
    assert decoded.dataref == "file:///r"
    assert decoded.data.sha256 == hostile.sha256


def test_the_schema_names_every_field_of_an_event() -> None:
    schema = json_schema()
    assert isinstance(schema["$defs"], dict)
    assert "sequence" in schema["$defs"]["CloudEvent"]["properties"]


def test_session_and_trace_are_in_it_where_there_is_one() -> None:
    assert not {"session", "traceparent"} & set(re.findall(r"\w+", event(record()).json))
    trace = "00-5c2779f09365478cee21d8c75ece69f3-e9fdc23e3b790c4f-01"
    traced = ingested(
        record(),
        deployment="d",
        dataref="file:///r",
        uri=str,
        session="5c2779f09365478cee21d8c75ece69f3",
        traceparent=trace,
    )
    decoded = msgspec.json.decode(traced.json, type=CloudEvent)
    assert decoded.traceparent == trace
    assert decoded.data.session == "5c2779f09365478cee21d8c75ece69f3"
    assert traced.id == event(record()).id


def test_a_probe_is_told_from_mail_by_type_and_id_and_mail_does_not_speak_of_probes() -> None:
    probe = Probe(id="0" * 32, sent_at=datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC))
    whole, rehearsed, mail = (
        ingested(one, deployment="d", dataref="file:///r", uri=str, probe=of)
        for one, of in ((record(), probe), (record(rehearsal=True), probe), (record(), None))
    )
    assert (whole.type, rehearsed.type, mail.type) == (PROBED, PROBED, INGESTED)
    assert whole.id != mail.id
    said = {"id": "0" * 32, "sent_at": "2026-01-02T03:04:05.678000Z"}
    assert msgspec.json.decode(whole.json)["data"]["probe"] == said
    assert "probe" not in mail.json


def test_the_schema_says_what_to_make_of_each_type() -> None:
    properties = json_schema()["$defs"]["CloudEvent"]["properties"]  # type: ignore[index]
    for kind in ("ingested", "reparsed", "rehearsed", "probed"):
        assert f"mail-ingest.message.{kind}.v1: " in properties["type"]["description"]
