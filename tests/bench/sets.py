"""The messages that are retrieved, made once as files to be linked into the maildrop."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests import messages
from tests.servers.dovecot import MAIL_GID, MAIL_UID

MB = 1_000_000


class MessageSet(NamedTuple):
    """Messages of one kind."""

    name: str
    files: list[Path]


def compared(directory: Path) -> list[MessageSet]:
    """The sets that all programs retrieve."""
    return [
        MessageSet("2,000 x 2-8 KB", _made(directory, "small", 2_000, _write_small)),
        MessageSet("200 x 1 MB attachment", _made(directory, "1MB", 200, _writer(MB))),
        MessageSet("3 x 100 MB attachment", _made(directory, "100MB", 3, _writer(100 * MB))),
    ]


def memory(directory: Path) -> list[MessageSet]:
    """Two messages of very different size."""
    return [
        MessageSet(
            f"1 x {size} MB attachment", _made(directory, f"one{size}", 1, _writer(size * MB))
        )
        for size in (100, 500)
    ]


def _made(
    directory: Path, name: str, count: int, write: Callable[[Path, int], object]
) -> list[Path]:
    files = [directory / f"{name}-{seed}" for seed in range(count)]
    for seed, file in enumerate(files):
        write(file, seed)
        os.chown(file, MAIL_UID, MAIL_GID)
    return files


def _write_small(file: Path, seed: int) -> None:
    file.write_bytes(messages.small(seed).octets)


def _writer(octets: int) -> Callable[[Path, int], object]:
    return lambda file, seed: messages.write_with_attachment(file, seed, octets)
