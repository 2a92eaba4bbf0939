"""`ingest message` where the store is not as it was left."""

from __future__ import annotations

from pathlib import Path

from ulid import ULID

from ingest.bootstrap import Application
from ingest.objects import keys
from tests.fakes.mail_values import mailbox, record
from tests.unit.cli.conftest import Ingest


def test_a_damaged_commit_object_hides_no_other_message(
    application: Application, ingest: Ingest, home: Path
) -> None:
    application.registry.add(mailbox())
    batches = [str(ULID()) for _ in range(3)]
    for batch in batches:
        committed = record(batch, unique_id=batch, batch=batch)
        application.log.commit(batch, [(committed, batch.encode())])
    damaged = home / "store" / keys.commit(batches[1])
    damaged.write_bytes(damaged.read_bytes()[:-1])
    listed = ingest("message", "list", "--since", "2020-01-01", "--json")
    assert listed.code == 7
    ids = {each["id"] for each in listed.json[0]}
    assert ids == {record(batch).id for batch in (batches[2], batches[0])}
    assert keys.commit(batches[1]) in listed.err
    assert "1 commit object can't be read" in listed.err
    oldest = record(batches[0]).id
    shown = ingest("message", "show", oldest, "--since", "2020-01-01", "--json")
    assert (shown.code, shown.json[0]["id"]) == (0, oldest)
