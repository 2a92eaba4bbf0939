"""The settings: the only reader of the environment.

Every setting is an environment variable `INGEST_<NAME>`; an empty one counts as unset. Without
any, everything lives in one home directory: a directory store, an embedded Valkey's socket, and
the keys.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ingest.errors import SettingsError

_PREFIX = "INGEST_"
_OTLP = "OTEL_EXPORTER_OTLP_"  # of OpenTelemetry's own variables, those of its exporter

Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Port = Annotated[int, Meta(ge=0, le=65535)]


def _default_home() -> str:
    try:
        base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    except RuntimeError:
        raise SettingsError(
            "this user has no home directory", remedy="set INGEST_HOME to a directory"
        ) from None
    return str(Path(base) / "mail-ingest")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of one process. Sizes are octets, durations seconds unless the name says so."""

    home: str = msgspec.field(default_factory=_default_home)  # where the defaults below live
    deployment: str = "mail-ingest"  # names this fleet in the source of its events
    log_format: Literal["auto", "json", "console"] = "auto"  # auto: JSON when not a terminal
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_sample: Share = 1.0  # of the sessions: those whose messages have a line each

    redis_url: str = ""  # redis://, rediss:// or unix://; empty: embedded Valkey in home
    store: str = ""  # s3://bucket/prefix or file:///directory; empty: home/store
    s3_endpoint: str = ""  # empty: Amazon's
    s3_region: str = ""
    s3_path_style: bool = False
    s3_sse: Literal["", "AES256", "aws:kms"] = ""
    s3_sse_kms_key_id: str = ""
    keys: str = ""  # Fernet keys that seal passwords, comma-separated, the first one seals
    keys_file: str = ""  # the same, one a line; empty: home/keys, made at first use

    events_url: str = ""  # the Redis that consumers read; empty: redis_url
    events_stream: str = "mail-ingest:events"
    events_maxlen: NotNegative = 1_000_000  # the stream is trimmed to about so many; 0: never

    extract_from: NotNegative = 64 * 1024  # decoded size from which a part gets its own object
    extract_text_from: NotNegative = 1024 * 1024  # the same for text bodies
    buffer_octets: Positive = 64 * 1024 * 1024  # all upload buffers of a process together

    batch_messages: Positive = 250
    batch_octets: Positive = 4 * 1024 * 1024  # of skeletons and records kept in memory
    batch_milliseconds: Positive = 5000
    strict_evidence: bool = False  # retrieve again what an earlier session stored, before DELE
    session_messages: Positive = 10_000  # a session starts no more messages past these limits
    session_octets: Positive = 4 * 1024 * 1024 * 1024
    session_seconds: Positive = 900
    idle_seconds: Positive = 60  # silence on a connection after which it is dropped
    minimum_rate: NotNegative = 256  # octets per second, averaged over a minute

    poll_seconds: Positive = 30  # shortest interval between two sessions of a mailbox
    poll_seconds_max: Positive = 600  # longest, for a mailbox where nothing arrives
    group_slots: Positive = 10  # sessions at a time with one provider host for one tenant
    lease_seconds: Positive = 60
    concurrency: Positive = 50  # threads of a worker
    grace_seconds: Positive = 25  # how long SIGTERM lets a session finish what it has
    metrics_port: Port = 9308  # /metrics, /healthz, /readyz; 0: none
    beat_port: Port = 0  # the same for beat; 0: none
    metrics_host: str = "0.0.0.0"  # noqa: S104 - scraped from outside the pod

    def __post_init__(self) -> None:
        """Check what one field alone can't show.

        Raises:
            SettingsError: naming both settings.
        """
        if self.poll_seconds_max < self.poll_seconds:
            raise SettingsError(
                f"INGEST_POLL_SECONDS_MAX={self.poll_seconds_max} is less than "
                f"INGEST_POLL_SECONDS={self.poll_seconds}",
                remedy="set INGEST_POLL_SECONDS_MAX to at least INGEST_POLL_SECONDS",
            )
        if self.s3_sse_kms_key_id and self.s3_sse != "aws:kms":
            raise SettingsError(
                "INGEST_S3_SSE_KMS_KEY_ID is set, but INGEST_S3_SSE is not aws:kms",
                remedy="set INGEST_S3_SSE=aws:kms, or unset the key id",
            )

    @property
    def store_url(self) -> str:
        """The store's URL, with the default filled in."""
        return self.store or (Path(self.home).absolute() / "store").as_uri()

    @property
    def embedded(self) -> bool:
        """Whether Redis is the embedded Valkey."""
        return not self.redis_url

    @property
    def valkey_directory(self) -> Path:
        """Where the embedded Valkey keeps its socket and files."""
        return Path(self.home).absolute() / "valkey"

    @property
    def keys_path(self) -> Path:
        """The file with the keys, where they are not given directly."""
        return Path(self.keys_file) if self.keys_file else Path(self.home) / "keys"

    def __repr__(self) -> str:
        """No values: a URL may hold a password, and keys are secrets."""
        return "Settings(...)"


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `INGEST_*` variables.

    Raises:
        SettingsError: an unknown variable or a value that does not fit, named.
    """
    environment = os.environ if environment is None else environment
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    given: dict[str, Any] = {}
    for variable, text in environment.items():
        if not variable.startswith(_PREFIX):
            continue
        name = variable.removeprefix(_PREFIX).lower()
        if name not in fields:
            raise SettingsError(
                f"unknown setting {variable}", remedy="see the README's list of settings"
            )
        if not text:
            continue
        try:
            given[name] = msgspec.convert(text, fields[name].type, strict=False)
        except msgspec.ValidationError as error:
            reason = str(error)[0].lower() + str(error)[1:]
            raise SettingsError(
                f"{variable} has a value that does not fit: {reason}",
                remedy="see the README's list of settings",
            ) from None
    return Settings(**given)


def sends_spans(environment: Mapping[str, str] | None = None) -> bool:
    """Whether OpenTelemetry's standard variables say where spans go, and not to send none.

    Raises:
        SettingsError: they ask for what the exporter can't do.
    """
    environment = os.environ if environment is None else environment

    def given(name: str) -> str:
        return environment.get(f"{_OTLP}TRACES_{name}") or environment.get(f"{_OTLP}{name}", "")

    if (
        not given("ENDPOINT")
        or environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or environment.get("OTEL_TRACES_EXPORTER") == "none"
    ):
        return False
    if not given("ENDPOINT").startswith(("http://", "https://")):
        raise SettingsError(
            f"{_OTLP}ENDPOINT is not an http:// or https:// URL",
            remedy="set it to the collector's OTLP/HTTP address, such as http://collector:4318",
        )
    if "?" in given("ENDPOINT"):  # errors that are logged would have it
        raise SettingsError(
            f"{_OTLP}ENDPOINT has a query, which is where some keys stand",
            remedy=f"put what signs in into {_OTLP}HEADERS",
        )
    if given("PROTOCOL") not in {"", "http/protobuf"}:
        raise SettingsError(
            f"{_OTLP}PROTOCOL is {given('PROTOCOL')}, but spans go by http/protobuf only",
            remedy=f"unset it, and name the collector's port for that, 4318, in {_OTLP}ENDPOINT",
        )
    if any(header.strip() and "=" not in header for header in given("HEADERS").split(",")):
        raise SettingsError(
            f"{_OTLP}HEADERS has an entry that is not name=value",
            remedy="separate entries by commas, and write a comma within a value as %2C",
        )
    return True
