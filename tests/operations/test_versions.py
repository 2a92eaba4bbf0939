"""Versions side by side: what older ones wrote is read, what a newer one writes does no harm."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from celery import Celery
from redis import Redis

from ingest import __version__
from ingest.objects import commits
from ingest.state.connect import connect
from ingest.state.registry import Registry
from ingest.tasks.app import configuration
from tests.e2e.fleet import Fleet, fleet, stored
from tests.fakes.pop3_server import Pop3Server
from tests.operations.written import LANES, NAME, PUBLISHED, SETTINGS, WAITING
from tests.servers.valkey import Valkey

KEPT = sorted(Path(__file__).parent.glob("written_by_*"))
MESSAGES = [*PUBLISHED, WAITING]
STREAM = "mail-ingest:events"


class Installation(NamedTuple):
    """What a version left, with today's code before it."""

    ours: Fleet
    redis: Redis
    server: Pop3Server
    store: Path
    kept: Path  # as it was written

    def mailbox(self, **changes: object) -> None:
        """Change the mailbox, as a person does."""
        with self.ours.store() as store:
            registry = Registry(self.redis, store)
            seen = registry.get(NAME)
            registry.update(msgspec.structs.replace(seen, **changes), seen=seen)

    def published(self) -> dict[str, list[bytes]]:
        """Every event that consumers could read, as octets, by its id."""
        found: dict[str, list[bytes]] = {}
        entries: Any = self.redis.xrange(STREAM)
        for _, fields in entries:
            found.setdefault(fields[b"id"].decode(), []).append(fields[b"event"])
        return found

    def written(self) -> dict[str, list[bytes]]:
        """Every event that was committed, as octets, by its id; each once."""
        with self.ours.store() as store:
            events = [event for record in stored(store) for event in record.events]
        return {event.id: [event.json.encode()] for event in events}

    def commit_objects(self) -> list[Path]:
        return sorted(self.store.glob("mail/**/commit.zip"))

    def hint(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Put the hints that it wrote into their queues, changed so; they never expire."""
        for lane, hints in json.loads((self.kept / "hints.json").read_text()).items():
            for hint in hints:
                hint["headers"]["expires"] = None
                change(hint)
                self.redis.lpush(lane, json.dumps(hint))


@pytest.fixture(params=KEPT, ids=lambda kept: kept.name)
def installation(
    request: pytest.FixtureRequest, tmp_path: Path, valkey: Valkey
) -> Iterator[Installation]:
    kept: Path = request.param
    shutil.copytree(kept / "store", tmp_path / "store")
    settings = {**SETTINGS, "INGEST_STORE": (tmp_path / "store").as_uri()}
    with (
        contextlib.closing(connect(valkey.url)) as redis,
        Pop3Server(MESSAGES) as server,
        fleet(tmp_path, valkey.url, settings) as ours,
    ):
        for key, dumped in json.loads((kept / "redis.json").read_text()).items():
            redis.restore(key, 0, base64.b64decode(dumped))
        made = Installation(ours, redis, server, tmp_path / "store", kept)
        made.mailbox(port=server.port)
        yield made


def _of_a_newer_version(commit: Path) -> Iterator[tuple[bytes, bytes]]:
    """The members of a commit object, with more fields in records and their events."""
    with zipfile.ZipFile(commit) as archive:
        for name in archive.namelist():
            octets = archive.read(name)
            if name.endswith(".json"):
                record = with_more(json.loads(octets), "envelope", "skeleton")
                record["parts"] = [with_more(part) for part in record["parts"]]
                for event in record["events"]:
                    event["json"] = json.dumps(with_more(json.loads(event["json"]), "data"))
                octets = json.dumps(record).encode()
            yield name.encode(), octets


def with_more(fields: dict[str, Any], *nested: str) -> dict[str, Any]:
    """The same fields, and one that no version of today knows, there and in those nested."""
    more = {**fields, "newer": {"than": ["today"]}}
    return more | {name: with_more(more[name]) for name in nested}


def test_what_this_version_writes_is_kept_for_the_next_ones() -> None:
    """With a release: python -m tests.operations.written tests/operations/written_by_..."""
    assert f"written_by_{__version__.replace('.', '_')}" in {kept.name for kept in KEPT}


def test_what_an_older_version_stored_is_proven_and_read(installation: Installation) -> None:
    ours = installation.ours
    summary = json.loads(ours.run("audit", "--json").splitlines()[-1])
    assert summary["proven"] == len(MESSAGES)
    records = json.loads(ours.run("message", "list", "--json"))
    texts = {ours.run("message", "cat", record["id"]) for record in records}
    assert texts == {message.octets.decode().replace("\r\n", "\n") for message in MESSAGES}
    findings = json.loads(ours.run("doctor", "--json"))
    assert {finding["verdict"] for finding in findings} <= {"ok", "warning"}


def test_what_it_ingested_is_deleted_by_its_ledger_and_not_ingested_again(
    installation: Installation,
) -> None:
    objects = installation.commit_objects()
    installation.mailbox(delete="committed")
    installation.ours.run("poll", NAME)
    assert installation.server.deleted == [message.unique_id for message in MESSAGES]
    assert not [line for line in installation.server.commands() if line.startswith("RETR")]
    assert installation.commit_objects() == objects


def test_what_waited_when_it_ended_is_published_and_nothing_twice(
    installation: Installation,
) -> None:
    assert len(installation.published()) == len(PUBLISHED)
    installation.hint(lambda _: None)
    installation.ours.start("worker")
    installation.ours.wait(lambda: installation.published() == installation.written(), 30)
    installation.ours.wait(lambda: not any(installation.redis.llen(lane) for lane in LANES), 30)
    assert installation.published() == installation.written()
    assert installation.server.sessions > 0


def test_a_new_redis_is_read_back_from_what_it_stored(installation: Installation) -> None:
    installation.redis.flushall()
    installation.ours.start("worker")
    installation.ours.start("beat")
    installation.ours.wait(lambda: installation.published() == installation.written(), 30)


def test_hints_of_a_newer_version_are_taken_and_those_of_unknown_tasks_left(
    installation: Installation,
) -> None:
    def newer(hint: dict[str, Any]) -> None:
        arguments, named, options = json.loads(base64.b64decode(hint["body"]))
        body = json.dumps([[*arguments, "newer"], with_more(named), options])
        hint["body"] = base64.b64encode(body.encode()).decode()

    with contextlib.closing(Celery("newer")) as app:
        app.config_from_object(configuration(installation.ours.settings))
        app.send_task("of_a_newer_version")
    installation.hint(newer)
    worker = installation.ours.start("worker")
    installation.ours.wait(lambda: installation.published() == installation.written(), 30)
    installation.ours.wait(lambda: not any(installation.redis.llen(lane) for lane in LANES), 30)
    assert installation.server.sessions > 0
    assert not worker.said("TypeError")


def test_objects_of_a_newer_version_are_proven_published_and_kept(
    installation: Installation,
) -> None:
    for path in installation.commit_objects():
        path.write_bytes(b"".join(commits._zip(list(_of_a_newer_version(path)))))
    settings = next(installation.store.glob("mailboxes/*.json"))
    for path in (settings, installation.store / "checkpoint.json"):
        path.write_text(json.dumps(with_more(json.loads(path.read_text()))))
    installation.redis.flushall()
    ours = installation.ours
    ours.start("worker")
    ours.start("beat")
    ours.wait(lambda: len(installation.published()) == len(MESSAGES), 30)
    ours.run("mailbox", "set", NAME, "--delete", "never", "--tenant", "other", "--no-test", "--yes")
    kept = json.loads(settings.read_text())
    assert kept["newer"]
    assert kept["tenant"] == "other"
    summary = json.loads(ours.run("audit", "--json").splitlines()[-1])
    assert summary["proven"] == len(MESSAGES)
    tail = ours.run("events", "tail", "--from-start", "--count", str(len(MESSAGES)), "--json")
    assert all(json.loads(line)["newer"] for line in tail.splitlines())
