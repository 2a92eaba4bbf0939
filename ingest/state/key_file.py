"""Where the keys that seal passwords come from: a setting, a file, or one made at first use."""

from __future__ import annotations

import os
from pathlib import Path

from ingest.errors import SettingsError
from ingest.settings import Settings
from ingest.state.secrets import new_key


def keys_of(settings: Settings) -> list[str]:
    """The keys that seal passwords, the one that seals first.

    Where everything lives in the home directory, so does a key of its own, made at first use. A
    fleet must be given its keys: a key that only one worker knows is worse than none.

    Raises:
        SettingsError: the key file can't be read.
    """
    if settings.keys:
        return [key.strip() for key in settings.keys.split(",") if key.strip()]
    path = settings.keys_path
    if not settings.keys_file:
        if settings.store and not path.exists():
            return []
        _make_key(path)
    try:
        return path.read_text("ascii", "replace").split()  # the keyring says what is no key
    except OSError as error:
        raise SettingsError(
            f"can't read the keys in {path}: {error.strerror}",
            remedy="set INGEST_KEYS_FILE to a file that this user can read",
        ) from None


def _make_key(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:  # noqa: PTH123 - a descriptor is no path
            file.write(new_key() + "\n")
    except FileExistsError:
        return
    except OSError as error:
        raise SettingsError(
            f"can't make a key in {path}: {error.strerror}",
            remedy="set INGEST_HOME to a directory that this user can write to",
        ) from None
