"""Passwords of mailboxes: where they are, and how they are kept when we keep them.

The keys that seal them also sign, by keys that are derived from them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ingest.errors import RegistryError, SettingsError

_SECRET_OCTETS_MAX: Final = 64 * 1024  # an OAuth token fits; a wrong path does no harm
_SEALED: Final = "sealed:"


class _Sealed(msgspec.Struct):
    """What a token holds. With the mailbox in it, no mailbox can use another one's token."""

    mailbox: str
    password: str


def new_key() -> str:
    """A new random key for a `Keyring`."""
    return Fernet.generate_key().decode()


class Keyring:
    """Seals and signs with its first key; opens and accepts what any of its keys did.

    Args:
        keys: Fernet keys, 32 octets in URL-safe base64 each. Without any, nothing can be sealed.

    Raises:
        SettingsError: one is no such key.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        try:
            fernets = [Fernet(key) for key in keys]
        except ValueError:
            raise SettingsError(
                "one of the keys that seal passwords is malformed",
                remedy="a key is 32 octets in URL-safe base64: see INGEST_KEYS, INGEST_KEYS_FILE",
            ) from None
        self._fernets = MultiFernet(fernets) if fernets else None
        self._signing = [_signing_key(key) for key in keys]

    def __repr__(self) -> str:
        """No keys."""
        return "Keyring(...)"

    def seal(self, password: str, mailbox: str) -> str:
        """The reference `sealed:TOKEN` that only this mailbox (its id) can use.

        Raises:
            SettingsError: there is no key.
        """
        sealed = msgspec.json.encode(_Sealed(mailbox, password))
        return _SEALED + self._any().encrypt(sealed).decode()

    def reveal(self, reference: str, mailbox: str) -> str:
        """The password that `env:NAME`, `file:PATH` or `sealed:TOKEN` stands for.

        Raises:
            RegistryError: it can't be read; neither it nor the token is in the error.
            SettingsError: it is sealed, and there is no key.
        """
        kind, _, rest = reference.partition(":")
        if kind == "env" and rest:
            return _from_environment(rest, mailbox)
        if kind == "file" and rest:
            return _from_file(Path(rest), mailbox)
        if kind == "sealed" and rest:
            return self._open(rest, mailbox)
        raise RegistryError(
            f"the password of mailbox {mailbox} is no reference",
            remedy=f"have it sealed: {_set_password(mailbox)}",
        )

    def rotate(self, reference: str, mailbox: str) -> str:
        """The same password sealed with the first key; other references as they are.

        Raises:
            RegistryError, SettingsError: as `reveal`.
        """
        if not reference.startswith(_SEALED):
            return reference
        return self.seal(self.reveal(reference, mailbox), mailbox)

    def sign(self, octets: bytes) -> str:
        """Our signature: HMAC-SHA256, hexadecimal.

        Raises:
            SettingsError: there is no key.
        """
        self._any()
        return _signature(self._signing[0], octets)

    def is_signed(self, octets: bytes, signature: str) -> bool:
        """Whether the signature, ASCII, of these octets is ours, by any key."""
        return any(hmac.compare_digest(_signature(key, octets), signature) for key in self._signing)

    def _open(self, token: str, mailbox: str) -> str:
        try:
            sealed = msgspec.json.decode(self._any().decrypt(token), type=_Sealed)
        except (InvalidToken, msgspec.DecodeError):
            raise RegistryError(
                f"no key opens the sealed password of mailbox {mailbox}",
                remedy="add the key it was sealed with to INGEST_KEYS, or enter it anew: "
                f"{_set_password(mailbox)}",
            ) from None
        if sealed.mailbox != mailbox:
            raise RegistryError(
                f"the sealed password of mailbox {mailbox} belongs to another mailbox",
                remedy=f"enter the password anew: {_set_password(mailbox)}",
            )
        return sealed.password

    def _any(self) -> MultiFernet:
        if self._fernets is None:
            raise SettingsError(
                "there is no key to seal or open passwords with",
                remedy="set INGEST_KEYS or INGEST_KEYS_FILE",
            )
        return self._fernets


def _signing_key(key: str) -> bytes:
    """Another key than the one that seals: neither's output tells of the other (RFC 5869)."""
    derive = HKDF(SHA256(), length=32, salt=None, info=b"mail-ingest/signature/1")
    return derive.derive(base64.urlsafe_b64decode(key))


def _signature(key: bytes, octets: bytes) -> str:
    return hmac.new(key, octets, hashlib.sha256).hexdigest()


def _set_password(mailbox: str) -> str:
    return f"ingest mailbox set {mailbox} --password"


def _from_environment(name: str, mailbox: str) -> str:
    password = os.environ.get(name)
    if not password:
        raise RegistryError(
            f"the password of mailbox {mailbox} is in the environment variable {name}, "
            "which is not set",
            remedy=f"set {name} where mail-ingest runs",
        )
    return password


def _from_file(path: Path, mailbox: str) -> str:
    try:
        with path.open("rb") as file:
            octets = file.read(_SECRET_OCTETS_MAX + 1)
        password = octets.decode()
    except OSError as error:
        raise RegistryError(
            f"the password of mailbox {mailbox} is in {path}: {error.strerror}",
            remedy="mount that file where mail-ingest runs, readable for its user",
        ) from None
    except UnicodeDecodeError:
        raise RegistryError(
            f"the password of mailbox {mailbox} in {path} is not UTF-8",
            remedy="write the password, and nothing else, into that file",
        ) from None
    if len(octets) > _SECRET_OCTETS_MAX or not password.removesuffix("\n"):
        raise RegistryError(
            f"the file {path} with the password of mailbox {mailbox} is empty, or too large",
            remedy="write the password, and nothing else, into that file",
        )
    return password.removesuffix("\n")
