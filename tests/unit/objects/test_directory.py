from __future__ import annotations

import errno
import os
import stat
import threading
from itertools import takewhile
from pathlib import Path

import pytest

from ingest.errors import StoreError, StoreFull, StoreRefused, StoreUnavailable
from ingest.objects.directory import DirectoryStore


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "deep" / "store")


def modes(root: Path) -> dict[str, int]:
    return {
        str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*")
    }


def test_files_and_directories_are_for_this_user_alone(
    store: DirectoryStore, tmp_path: Path
) -> None:
    store.put("mail/a/part-1", b"x")
    assert modes(tmp_path / "deep") == {
        "store": 0o700,
        "store/.uploads": 0o700,
        "store/mail": 0o700,
        "store/mail/a": 0o700,
        "store/mail/a/part-1": 0o600,
    }


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EFBIG, StoreFull),
        (errno.EACCES, StoreRefused),
        (errno.EROFS, StoreRefused),
        (errno.EIO, StoreUnavailable),
    ],
)
def test_a_failing_disk_is_explained_without_its_path(
    store: DirectoryStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[Exception],
) -> None:
    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path))

    with store.create("mail/part-1") as writer:
        writer.write(b"x")
        monkeypatch.setattr(os, "fsync", fail)
        durable = writer.commit()
        raised = durable.exception(30)
    assert isinstance(raised, StoreError)
    assert type(raised) is error
    assert "mail/part-1" in str(raised)
    assert str(tmp_path) not in str(raised)
    assert raised.remedy
    monkeypatch.undo()
    assert list((tmp_path / "deep" / "store" / ".uploads").iterdir()) == []


def test_a_full_disk_is_noticed_at_a_large_write(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("wb") as full:
        monkeypatch.setattr(os, "fdopen", lambda *_: full)
        with store.create("part-1") as writer, pytest.raises(StoreFull):
            writer.write(bytes(300_000))


def test_file_and_directories_are_durable_in_this_order(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    synced: list[str] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        aside = path.parent.name == ".uploads"
        synced.append("aside" if aside else os.path.relpath(path, tmp_path))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    store.put("mail/a/part-1", b"x")
    above = [
        os.path.relpath(path, tmp_path)
        for path in takewhile(lambda path: not path.is_mount(), (tmp_path, *tmp_path.parents))
    ]
    root = "deep/store"
    expected = ["deep", root, "aside", root, f"{root}/mail", f"{root}/mail/a"]
    assert [path for path in synced if ".." not in path] == [".", *expected]
    assert set(above) <= set(synced)
    synced.clear()
    store.put("mail/a/part-2", b"x")
    assert synced == ["aside", f"{root}/mail/a"]


def test_a_directory_above_the_store_need_not_be_readable(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = os.open

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if path in tmp_path.parents:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    store.put("mail/part-1", b"x")
    assert b"".join(store.read("mail/part-1")) == b"x"


def test_the_fsyncs_of_many_commits_overlap(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(8)
    store.put("mail/part-x", b"")  # the directories are known from here on
    first = threading.local()

    def meet(_: int) -> None:
        if not getattr(first, "met", False):
            first.met = True
            together.wait(30)

    monkeypatch.setattr(os, "fsync", meet)
    pending = []
    for n in range(8):
        with store.create(f"mail/part-{n}") as writer:
            pending.append(writer.commit())
    for durable in pending:
        durable.result(30)


def test_deleting_the_last_object_removes_the_directories(
    store: DirectoryStore, tmp_path: Path
) -> None:
    store.put("mail/2026/part-1", b"x")
    store.put("mailboxes/a.json", b"x")
    store.delete(["mail/2026/part-1"])
    assert sorted(modes(tmp_path / "deep" / "store")) == [
        ".uploads",
        "mailboxes",
        "mailboxes/a.json",
    ]


def test_an_upload_directory_that_was_removed_is_made_again(
    store: DirectoryStore, tmp_path: Path
) -> None:
    store.put("part-1", b"x")
    (tmp_path / "deep" / "store" / ".uploads").rmdir()
    with pytest.raises(StoreUnavailable):
        store.put("part-2", b"x")
    store.put("part-2", b"x")


@pytest.mark.parametrize("below", ["", "store"])
def test_a_file_in_the_directory_s_way_is_refused_and_the_setting_named(
    tmp_path: Path, below: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    error = DirectoryStore(tmp_path / "file" / below).probe().steps["write"]
    assert isinstance(error, StoreRefused)
    assert "INGEST_STORE" in error.remedy


def test_a_link_out_of_the_store_is_not_followed_in_listings(
    store: DirectoryStore, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret").write_bytes(b"x")
    store.put("mail/part-1", b"x")
    (tmp_path / "deep" / "store" / "mail" / "link").symlink_to(tmp_path / "other")
    assert [found.key for found in store.list("mail/")] == ["mail/part-1"]
