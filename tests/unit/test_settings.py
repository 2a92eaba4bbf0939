"""Settings: read from the environment alone, and wrong ones are named."""

from __future__ import annotations

import pytest

from ingest.errors import SettingsError
from ingest.settings import from_environment


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
