"""A message that was stored unparsed, parsed later."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ingest.errors import IngestError
from ingest.events.schema import REPARSED
from ingest.intake.batch import BatchLimits
from ingest.intake.message import Thresholds
from ingest.intake.reparse import reparse
from ingest.mime.splitter import Splitter
from ingest.model import Record
from ingest.objects.commits import rebuild_message
from ingest.objects.log import StoreLog
from tests.fakes.world import World

MESSAGE = b"Subject: late\r\nContent-Type: application/x\r\n\r\n" + b"y" * 5_000
NOW = datetime(2026, 5, 4, tzinfo=UTC)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """One message, stored while the parser was broken."""
    world = World()
    world.deliver(MESSAGE)
    break_the_parser(monkeypatch)
    world.session()
    return world


def break_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    def feed(_: Splitter, __: memoryview) -> list[object]:
        raise ZeroDivisionError

    monkeypatch.setattr(Splitter, "feed", feed)


def parsed_again(world: World, record: Record) -> Record:
    return reparse(
        record,
        rebuild_message(world.store, record),
        log=StoreLog(world.store),
        limits=BatchLimits(1, 10**6, 10**6),
        thresholds=Thresholds(1000, 10**6),
        deployment="test",
        now=NOW,
    )


def test_it_gets_a_version_with_its_parts_and_an_event_of_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    [record] = world.records()
    monkeypatch.undo()
    version = parsed_again(world, record)
    assert record.quarantined
    assert not version.quarantined
    assert (version.version_of, version.sha256) == (record.id, record.sha256)
    assert version.envelope.subject == "late"
    assert b"".join(rebuild_message(world.store, version)) == MESSAGE
    assert [event.type for event in version.events] == [REPARSED]
    assert version.events[0].id != record.events[0].id


def test_every_version_has_an_id_of_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    [record] = world.records()
    monkeypatch.undo()
    assert parsed_again(world, record).id != parsed_again(world, record).id


def test_one_that_still_breaks_the_parser_stays_as_it_is(world: World) -> None:
    [record] = world.records()
    with pytest.raises(IngestError, match="still can't be parsed: ZeroDivisionError"):
        parsed_again(world, record)
    assert world.records() == [record]
