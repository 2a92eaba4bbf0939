import subprocess
from pathlib import Path

import pytest

from tests.servers.small_disk import SmallDisk, small_disk

# Where nobody may mount a disk, the first is the second.
full_disks = pytest.mark.parametrize("mountable", [True, False], ids=["disk", "limit"])


def write(disk: SmallDisk, octets: int) -> int:
    """The exit code of a program that writes so many octets, then removes them."""
    script = 'trap "rm -f $1" EXIT; head -c "$0" /dev/zero >"$1"'
    words = ("sh", "-c", script, str(octets), str(disk.path / "file"))
    return subprocess.run(disk.command(*words), stderr=subprocess.DEVNULL, check=False).returncode


@full_disks
def test_a_program_finds_the_room_and_no_more(*, mountable: bool) -> None:
    with small_disk(100_000, mountable=mountable) as disk:
        assert write(disk, 50_000) == 0
        assert write(disk, 200_000) != 0
        disk.fill(300_000)
        assert write(disk, 200_000) == 0
        disk.make_room()
        assert write(disk, 1_000_000) == 0


@full_disks
def test_nothing_is_left_of_it(*, mountable: bool) -> None:
    with small_disk(100_000, mountable=mountable) as disk:
        (disk.path / "file").write_bytes(b"x")
        assert Path(disk.path).is_dir()
    assert not disk.path.exists()


def test_without_the_means_to_mount_one_there_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.small_disk._MOUNT", "exit 1")
    with small_disk(100_000) as disk:
        assert not disk.mounted
    monkeypatch.setattr("tests.servers.small_disk._UNSHARE", "no-such-program")
    with small_disk(100_000) as disk:
        assert not disk.mounted
