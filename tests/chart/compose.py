"""The compose file, read strictly: what it says, as far as the Compose Specification knows it."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec
import yaml

from tests.chart.render import ROOT

FILE = ROOT / "deploy" / "compose.yaml"
SECRETS = {"VALKEY_PASSWORD": "secret", "S3_SECRET": "secret", "INGEST_KEYS": "secret"}


class _Fields(msgspec.Struct, forbid_unknown_fields=True):
    """Part of the Compose Specification, as far as the file uses it."""


class Build(_Fields):
    """How an image is built."""

    context: str
    dockerfile: str


class Health(_Fields):
    """How it is seen that a service is well."""

    test: list[str]
    interval: str
    timeout: str
    start_period: str


class Condition(_Fields):
    """What must be before a service is started."""

    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class Mount(_Fields):
    """Where a config is mounted."""

    source: str
    target: str


class Service(_Fields):
    """One container."""

    image: str
    restart: Literal["unless-stopped"]
    read_only: bool
    cap_drop: list[str]
    security_opt: list[str]
    cap_add: list[str] = []
    build: Build | None = None
    user: str = ""
    command: list[str] = []
    environment: dict[str, str] = {}
    depends_on: dict[str, Condition] = {}
    healthcheck: Health | None = None
    stop_grace_period: str = ""
    tmpfs: list[str] = []
    volumes: list[str] = []
    ports: list[str] = []
    configs: list[Mount] = []


class Config(_Fields):
    """A file that stands in the compose file."""

    content: str


class Compose(_Fields):
    """The whole file."""

    name: str
    services: dict[str, Service]
    configs: dict[str, Config]
    volumes: dict[str, None]


def filled() -> Compose:
    """The file, its variables filled in.

    Raises:
        msgspec.ValidationError: it has what no compose file has, or lacks what ours must have.
    """
    text = re.sub(r"\$\{(\w+)(:\?[^}]*)?\}", lambda found: SECRETS[found[1]], FILE.read_text())
    assert "$" not in text
    content: dict[str, Any] = yaml.safe_load(text)
    ours = {key: value for key, value in content.items() if not key.startswith("x-")}
    return msgspec.convert(ours, Compose)
