from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ingest.cli.saving import safe_name, save_parts
from ingest.errors import ProofFailed, SettingsError
from ingest.mime.events import PartHeader
from ingest.model import Record
from ingest.objects.log import StoreLog
from tests.fakes.mail_values import record
from tests.fakes.memory_store import MemoryStore

MESSAGE = """\
Subject: two of one name\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary=b\r
\r
--b\r
\r
Hello\r
--b\r
Content-Type: application/pdf\r
Content-Disposition: attachment; filename="invoice.pdf"\r
Content-Transfer-Encoding: base64\r
\r
Zmlyc3Q=\r
--b\r
Content-Disposition: attachment; filename="invoice.pdf"\r
Content-Transfer-Encoding: quoted-printable\r
\r
sec=6Fnd\r
--b--\r
"""


def stored(store: MemoryStore, message: str = MESSAGE) -> Record:
    """The message as a record whose octets all are in the skeleton."""
    committed = record(message)
    StoreLog(store).commit(committed.batch, [(committed, message.encode())])
    return committed


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_every_part_is_saved_decoded_wherever_it_is_stored(tmp_path: Path) -> None:
    store = MemoryStore()

    saved = save_parts(store, stored(store), tmp_path / "new" / "folder")

    assert files(tmp_path / "new" / "folder") == {
        "part-1.txt": b"Hello",
        "invoice.pdf": b"first",
        "invoice-2.pdf": b"second",
    }
    assert [(Path(file.path).name, file.part, file.octets) for file in saved] == [
        ("part-1.txt", "1", 5),
        ("invoice.pdf", "2", 5),
        ("invoice-2.pdf", "3", 6),
    ]


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    store = MemoryStore()
    (tmp_path / "invoice.pdf").write_bytes(b"mine")
    (tmp_path / "part-1.txt").symlink_to(tmp_path / "elsewhere")

    save_parts(store, stored(store), tmp_path)

    assert (tmp_path / "invoice.pdf").read_bytes() == b"mine"
    assert (tmp_path / "part-1-2.txt").read_bytes() == b"Hello"
    assert not (tmp_path / "elsewhere").exists()


def test_nothing_stays_of_a_message_that_can_not_be_had_back(tmp_path: Path) -> None:
    store = MemoryStore()
    damaged = msgspec.structs.replace(stored(store), sha256="0" * 64)

    with pytest.raises(ProofFailed):
        save_parts(store, damaged, tmp_path)

    assert files(tmp_path) == {}


def test_a_directory_that_can_not_be_written_to_is_said(tmp_path: Path) -> None:
    store = MemoryStore()
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(SettingsError, match="can't save in"):
        save_parts(store, stored(store), tmp_path / "file")


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("report.pdf", "report.pdf"),
        ("účet S-9.pdf", "účet S-9.pdf"),
        ("", "part-1.2.pdf"),
        ("..", "part-1.2.pdf"),
        (".bashrc", "bashrc"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("C:\\x\\y.exe", "C__x_y.exe"),
        ("what?.txt ", "what_.txt"),
        ("a" * 300 + ".pdf", "a" * 116 + ".pdf"),
        ("é" * 300, "é" * 60),
        ("x." + "y" * 300, "x." + "y" * 118),
    ],
)
def test_a_name_from_a_message_is_safe_as_a_file_name(filename: str, name: str) -> None:
    header = PartHeader("1.2", content_type="application/pdf", filename=filename)

    assert safe_name(header) == name
