"""Settings: read from the environment alone, and wrong ones are named."""

from __future__ import annotations

import pytest

from ingest.errors import SettingsError
from ingest.settings import from_environment, sends_spans


def test_without_any_variable_everything_lives_in_the_home_directory() -> None:
    settings = from_environment({"INGEST_HOME": "/srv/mail"})
    assert settings.embedded
    assert settings.store_url == "file:///srv/mail/store"
    assert str(settings.valkey_directory) == "/srv/mail/valkey"
    assert str(settings.keys_path) == "/srv/mail/keys"


def test_other_variables_are_not_ours() -> None:
    assert from_environment({"PATH": "/bin", "INGEST_HOME": "/x"}).home == "/x"


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    empty = {"INGEST_HOME": "", "INGEST_CONCURRENCY": "", "INGEST_EVENTS_STREAM": ""}
    assert from_environment(empty) == from_environment({})
    assert from_environment(empty).home == "/state/mail-ingest"


def test_a_user_without_home_directory_is_told_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    with pytest.raises(SettingsError, match="no home directory") as raised:
        from_environment({})
    assert "INGEST_HOME" in raised.value.remedy


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("INGEST_CONCURRENCY", "many"),
        ("INGEST_CONCURRENCY", "0"),
        ("INGEST_METRICS_PORT", "70000"),
        ("INGEST_LOG_LEVEL", "loud"),
        ("INGEST_S3_PATH_STYLE", "perhaps"),
        ("INGEST_POLL_SECOND", "1"),
        ("INGEST_POLL_SECONDS_MAX", "1"),
        ("INGEST_S3_SSE_KMS_KEY_ID", "alias/mail"),
    ],
)
def test_a_wrong_setting_is_named_with_what_to_do(variable: str, text: str) -> None:
    with pytest.raises(SettingsError, match=variable) as raised:
        from_environment({variable: text})
    assert raised.value.remedy


def test_settings_show_no_values() -> None:
    settings = from_environment({"INGEST_REDIS_URL": "redis://:sesame@host/0"})
    assert "sesame" not in repr(settings)


@pytest.mark.parametrize(
    ("environment", "sends"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://c/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_spans_are_sent_where_the_standard_variables_say_so(
    environment: dict[str, str],
    sends: bool,  # noqa: FBT001 - what is expected
) -> None:
    assert sends_spans(environment) is sends


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ENDPOINT", "collector:4317"),
        ("ENDPOINT", "https://collector/?key=sesame"),
        ("PROTOCOL", "grpc"),
        ("TRACES_PROTOCOL", "http/json"),
        ("HEADERS", "api-key=a,sesame"),
    ],
)
def test_what_the_exporter_can_not_do_is_named_without_its_secrets(name: str, text: str) -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_") as raised:
        sends_spans(endpoint | {f"OTEL_EXPORTER_OTLP_{name}": text})
    assert raised.value.remedy
    assert "sesame" not in str(raised.value)
