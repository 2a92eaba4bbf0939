"""The system as its user runs it: the `ingest` command, its processes, and a consumer of events."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import msgspec

from ingest.events.schema import CloudEvent
from ingest.model import Mailbox, Record
from ingest.objects.budget import Budget
from ingest.objects.commits import rebuild_message
from ingest.objects.log import StoreLog
from ingest.objects.open import open_store
from ingest.objects.options import S3Options
from ingest.objects.probe import Store
from ingest.settings import Settings, from_environment
from ingest.state.connect import connect
from ingest.state.registry import Registry
from tests.servers.dovecot import PASSWORD, Dovecot
from tests.servers.seaweedfs import SeaweedFs

_SERVING = {
    "INGEST_POLL_SECONDS": "1",
    "INGEST_POLL_SECONDS_MAX": "2",
    "INGEST_LEASE_SECONDS": "6",
    "INGEST_METRICS_PORT": "0",
    "INGEST_LOG_FORMAT": "json",
    "INGEST_CONCURRENCY": "8",
    "INGEST_GRACE_SECONDS": "5",
    "DOVECOT_PASSWORD": PASSWORD,
}


class Running(NamedTuple):
    """One of the fleet's processes."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self, event: str) -> bool:
        """Whether its log has such an event."""
        return f'"{event}"' in self.log.read_text(errors="replace")

    def kill(self) -> None:
        """kill -9 the process and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


class Fleet:
    """Workers, beats and the command line, all with the same settings.

    Args:
        directory: its home; logs of the processes are there.
        redis_url: the Redis they share.
        settings: more `INGEST_*` variables.
    """

    def __init__(self, directory: Path, redis_url: str, settings: Mapping[str, str]) -> None:
        self.directory = directory
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("INGEST_")
        }
        self.environment = {
            **inherited,
            **_SERVING,
            "INGEST_HOME": str(directory),
            "INGEST_REDIS_URL": redis_url,
            **settings,
        }
        self.settings: Settings = from_environment(self.environment)
        self.processes: list[Running] = []

    def run(self, *arguments: str, expect: int = 0) -> str:
        """Run the command; its standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "ingest.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stderr}"
        return done.stdout

    def add(self, dovecot: Dovecot, user: str, *options: str, scheme: str = "pop3s") -> Mailbox:
        """Register a user's maildrop, as `mailbox add` does it."""
        port = dovecot.pop3s_port if scheme == "pop3s" else dovecot.pop3_port
        self.run(
            "mailbox",
            "add",
            user,
            f"{scheme}://{user}@localhost:{port}",
            "--password-ref=env:DOVECOT_PASSWORD",
            f"--ca-file={dovecot.ca_file}",
            "--yes",
            *options,
        )
        with self.store() as store, contextlib.closing(connect(self.settings.redis_url)) as client:
            return Registry(client, store).get(user)

    def start(self, role: str) -> Running:
        """Start `ingest worker` or `ingest beat`."""
        return self.launch([sys.executable, "-m", "ingest.cli", role])

    def launch(self, command: Sequence[str]) -> Running:
        """Start any program in the fleet's environment."""
        log = self.directory / f"{command[3]}-{len(self.processes)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(Running(process, log))
        return self.processes[-1]

    def logs(self) -> str:
        """What all processes said."""
        return "".join(running.log.read_text(errors="replace") for running in self.processes)

    def wait(self, done: Callable[[], bool], seconds: float = 120) -> None:
        """Wait until it is done.

        Raises:
            AssertionError: it isn't; with the end of the logs.
        """
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, self.logs()[-8000:]
            time.sleep(0.05)

    def events(self) -> list[CloudEvent]:
        """All events that consumers could read so far, doubles included."""
        url = self.settings.events_url or self.settings.redis_url
        with contextlib.closing(connect(url)) as client:
            entries: Sequence[tuple[bytes, dict[bytes, bytes]]] = client.xrange(  # type: ignore[assignment]  # sync client
                self.settings.events_stream
            )
        return [msgspec.json.decode(fields[b"event"], type=CloudEvent) for _, fields in entries]

    @contextlib.contextmanager
    def store(self) -> Iterator[Store]:
        """The fleet's object store."""
        options = S3Options(
            endpoint=self.settings.s3_endpoint,
            region=self.settings.s3_region,
            path_style=self.settings.s3_path_style,
        )
        keys = {name: value for name, value in self.environment.items() if "AWS_" in name}
        with (
            mock.patch.dict(os.environ, keys),
            contextlib.closing(
                open_store(self.settings.store_url, Budget(64 * 1024 * 1024), options)
            ) as store,
        ):
            yield store


def s3_settings(server: SeaweedFs, prefix: str) -> dict[str, str]:
    """The variables that make a fleet store there."""
    return {
        **server.environment,
        "INGEST_STORE": f"s3://{server.bucket}/{prefix}",
        "INGEST_S3_ENDPOINT": server.endpoint,
        "INGEST_S3_REGION": "us-east-1",
        "INGEST_S3_PATH_STYLE": "true",
    }


def stored(store: Store) -> list[Record]:
    """Every record in the log, each message rebuilt and its octets hashed on the way."""
    log = StoreLog(store)
    records = [record for batch in log.committed() for record in log.records(batch)]
    for record in records:
        for _ in rebuild_message(store, record):
            pass  # raises where octets or hash differ from the record
    return records


@contextlib.contextmanager
def fleet(
    directory: Path, redis_url: str, settings: Mapping[str, str] | None = None
) -> Iterator[Fleet]:
    """A fleet whose processes all end with the block."""
    made = Fleet(directory, redis_url, settings or {})
    try:
        yield made
    finally:
        for running in made.processes:
            running.kill()
