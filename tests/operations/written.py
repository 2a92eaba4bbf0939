"""What a version leaves in store, Redis and queues, kept small for those that come after it.

    python -m tests.operations.written tests/operations/written_by_0_1_0

is run once for each release, with the code of that release. A mailbox with a sealed password has
three messages left on its server: two whose events were published, and one with an extracted part
whose event still waits in the outbox. Hints of all kinds lie in the queues.
"""

from __future__ import annotations

import base64
import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec
from celery import Celery
from redis import Redis

from ingest.bootstrap import Application
from ingest.cli.sign_in import register
from ingest.model import Mailbox
from ingest.settings import Settings
from ingest.state.connect import connect
from ingest.state.registry import new_mailbox_id
from ingest.tasks.app import configuration
from tests.e2e.fleet import Fleet, fleet, s3_settings
from tests.fakes.pop3_server import Message, Pop3Server
from tests.faults.inside import opened
from tests.messages import with_attachment
from tests.servers.seaweedfs import seaweedfs_server
from tests.servers.valkey import valkey_server

KEY: Final = base64.urlsafe_b64encode(b"a key for these fixtures alone!!").decode()
SETTINGS: Final = {"INGEST_KEYS": KEY, "INGEST_EXTRACT_FROM": "1000"}
NAME: Final = "orders"
PREFIX: Final = "written"  # in the bucket
LANES: Final = ("poll", "relay", "maintenance")

PUBLISHED: Final = [
    Message(f"id-{name}", f"Subject: {name}\r\n\r\nHello\r\n".encode()) for name in ("one", "two")
]
WAITING: Final = Message("id-three", with_attachment(3, 3000).octets)


def write(directory: Path) -> None:
    """Have all of it written by the code that is imported here, and keep it."""
    with (
        tempfile.TemporaryDirectory() as home,
        valkey_server() as valkey,
        seaweedfs_server() as seaweedfs,
        Pop3Server(PUBLISHED) as server,
        fleet(Path(home), valkey.url, {**SETTINGS, **s3_settings(seaweedfs, PREFIX)}) as ours,
        contextlib.closing(connect(valkey.url)) as redis,
    ):
        with opened(ours) as application:
            mailbox = _ingest(application, server)
        _keep_redis(redis, directory)
        _keep_hints(ours.settings, redis, mailbox.group, directory)
        _keep_store(ours, directory / "store")


def _ingest(application: Application, server: Pop3Server) -> Mailbox:
    mailbox = Mailbox(
        id=new_mailbox_id(),
        name=NAME,
        host=server.host,
        port=server.port,
        tls="none",
        username=server.username,
        password="",
        delete="never",
    )
    sealed = application.keyring.seal(server.password, mailbox.id)
    mailbox = msgspec.structs.replace(mailbox, password=sealed)
    application.prepare()
    register(application, mailbox)
    _poll(application, mailbox)
    application.relay().drain()
    server.maildrop.append(WAITING)
    _poll(application, mailbox)
    return mailbox


def _poll(application: Application, mailbox: Mailbox) -> None:
    lease = application.schedule.claim_mailbox(mailbox, 60)
    assert lease
    application.poller().poll(lease)


def _keep_redis(redis: Redis, directory: Path) -> None:
    keys: Any = redis.keys("*")
    kept = {key.decode(): base64.b64encode(redis.dump(key)).decode() for key in sorted(keys)}  # type: ignore[arg-type]  # sync client
    _keep(directory / "redis.json", kept)


def _keep_hints(settings: Settings, redis: Redis, group: str, directory: Path) -> None:
    configured = configuration(settings)
    with contextlib.closing(Celery("writer")) as app:
        app.config_from_object(configured)
        for entry in configured["beat_schedule"].values():
            app.send_task(entry["task"], **entry["options"])
        app.send_task("poll", (group,), expires=30)
    waiting: dict[str, Any] = {lane: redis.lrange(lane, 0, -1) for lane in LANES}
    _keep(
        directory / "hints.json",
        {lane: [json.loads(hint) for hint in hints] for lane, hints in waiting.items()},
    )


def _keep_store(ours: Fleet, directory: Path) -> None:
    with ours.store() as store:
        for item in store.list(""):
            path = directory / item.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(store.read(item.key)))


def _keep(path: Path, what: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(what, indent=1) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
