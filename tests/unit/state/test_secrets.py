from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from ingest.errors import IngestError, RegistryError, SettingsError
from ingest.state.secrets import Keyring, new_key

PASSWORD = "p4ss wörd:\n"


@pytest.fixture
def keyring() -> Keyring:
    return Keyring([new_key()])


def told(caught: pytest.ExceptionInfo[IngestError]) -> str:
    """All that a log could show of it."""
    return "".join(traceback.format_exception(caught.value)) + caught.value.remedy


def test_a_sealed_password_is_revealed_to_its_mailbox(keyring: Keyring) -> None:
    reference = keyring.seal(PASSWORD, "mb-a")
    assert reference.startswith("sealed:")
    assert PASSWORD not in reference
    assert keyring.reveal(reference, "mb-a") == PASSWORD


def test_a_token_copied_to_another_mailbox_reveals_nothing(keyring: Keyring) -> None:
    reference = keyring.seal(PASSWORD, "mb-a")
    with pytest.raises(RegistryError, match="belongs to another mailbox") as caught:
        keyring.reveal(reference, "mb-b")
    assert "p4ss" not in told(caught)


def test_old_keys_open_and_the_first_one_seals() -> None:
    old, new = new_key(), new_key()
    reference = Keyring([old]).seal(PASSWORD, "mb-a")
    both = Keyring([new, old])
    assert both.reveal(reference, "mb-a") == PASSWORD
    rotated = both.rotate(reference, "mb-a")
    assert Keyring([new]).reveal(rotated, "mb-a") == PASSWORD
    assert both.rotate("env:NAME", "mb-a") == "env:NAME"


def test_without_the_right_key_the_error_says_which_mailbox_and_no_secret(
    keyring: Keyring,
) -> None:
    reference = Keyring([new_key()]).seal(PASSWORD, "mb-a")
    with pytest.raises(RegistryError, match="mb-a") as caught:
        keyring.reveal(reference, "mb-a")
    assert reference.removeprefix("sealed:") not in told(caught)
    assert "INGEST_KEYS" in caught.value.remedy


def test_a_sealed_password_without_any_key_asks_for_one() -> None:
    with pytest.raises(SettingsError) as caught:
        Keyring([]).seal(PASSWORD, "mb-a")
    assert "INGEST_KEYS" in caught.value.remedy


def test_a_malformed_key_is_refused_without_being_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        Keyring(["not-a-key-but-secret"])
    assert "not-a-key-but-secret" not in told(caught).replace('Keyring(["not-a-key', "")


def test_neither_repr_nor_str_shows_keys() -> None:
    key = new_key()
    assert key not in f"{Keyring([key])!r} {Keyring([key])}"


def test_a_variable_is_read_and_a_missing_one_is_named(
    keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "secret\n")
    assert keyring.reveal("env:MAIL_PASSWORD", "mb-a") == "secret\n"
    monkeypatch.delenv("MAIL_PASSWORD")
    with pytest.raises(RegistryError, match="MAIL_PASSWORD"):
        keyring.reveal("env:MAIL_PASSWORD", "mb-a")


def test_a_file_loses_one_line_end_and_no_more(keyring: Keyring, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes(b" secret \n\n")
    assert keyring.reveal(f"file:{path}", "mb-a") == " secret \n"
    path.write_bytes(b"secret")
    assert keyring.reveal(f"file:{path}", "mb-a") == "secret"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe", b"x" * 70_000])
def test_a_file_that_holds_no_password_is_named(
    keyring: Keyring, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RegistryError, match=str(path)) as caught:
        keyring.reveal(f"file:{path}", "mb-a")
    assert caught.value.remedy


@pytest.mark.parametrize("reference", ["", "secret", "plain:secret", "env:", "file:", "sealed:"])
def test_a_password_itself_is_no_reference_and_is_not_shown(
    keyring: Keyring, reference: str
) -> None:
    with pytest.raises(RegistryError, match="no reference") as caught:
        keyring.reveal(reference, "mb-a")
    assert "secret" not in f"{caught.value}{caught.value.remedy}"
    assert "ingest mailbox set mb-a --password" in caught.value.remedy


def test_what_a_key_signed_is_accepted_by_whoever_has_that_key() -> None:
    old, new = new_key(), new_key()
    signature = Keyring([old]).sign(b"octets")
    assert Keyring([new, old]).is_signed(b"octets", signature)
    assert not Keyring([new]).is_signed(b"octets", signature)
    assert not Keyring([old]).is_signed(b"other octets", signature)
    assert not Keyring([]).is_signed(b"octets", signature)
    assert Keyring([new, old]).sign(b"octets") == Keyring([new]).sign(b"octets")


def test_nothing_is_signed_without_a_key() -> None:
    with pytest.raises(SettingsError, match="no key"):
        Keyring([]).sign(b"octets")
