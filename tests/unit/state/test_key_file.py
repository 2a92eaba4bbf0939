from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from ingest.errors import SettingsError
from ingest.settings import Settings
from ingest.state.key_file import keys_of


def test_a_home_of_its_own_gets_a_key_once_that_nobody_else_can_read(tmp_path: Path) -> None:
    settings = Settings(home=str(tmp_path / "home"))
    (made,) = keys_of(settings)
    Fernet(made)
    assert settings.keys_path.stat().st_mode & 0o777 == 0o600
    assert keys_of(settings) == [made]


def test_a_fleet_is_given_its_keys_and_makes_none(tmp_path: Path) -> None:
    settings = Settings(home=str(tmp_path), store="s3://mail")
    assert keys_of(settings) == []
    assert not settings.keys_path.exists()


def test_keys_are_read_in_their_order_from_the_setting_or_else_from_the_file(
    tmp_path: Path,
) -> None:
    file = tmp_path / "keys"
    file.write_text("one\ntwo\n")
    assert keys_of(Settings(keys_file=str(file))) == ["one", "two"]
    assert keys_of(Settings(keys=" three,four ,", keys_file=str(file))) == ["three", "four"]


def test_a_file_that_is_not_there_and_a_home_that_can_not_be_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(SettingsError, match=f"can't read the keys in {missing}") as caught:
        keys_of(Settings(keys_file=str(missing)))
    assert caught.value.remedy
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="can't make a key in") as caught:
        keys_of(Settings(home=str(tmp_path / "file" / "home")))
    assert caught.value.remedy
