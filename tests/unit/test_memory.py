"""What the C library does with memory, told by itself in a process of its own."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

HEAPS = """
import ctypes, sys, threading
from ingest.memory import tune
if sys.argv[2] == "tuned":
    tune()
at_once = threading.Barrier(8)
def allocate():
    at_once.wait()
    held = bytearray(100_000)
    at_once.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


def heaps(told: Path, how: str) -> int:
    subprocess.run([sys.executable, "-c", HEAPS, told, how], check=True)
    return told.read_text().count("<heap nr=")


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_info"), reason="only glibc has heaps for threads"
)
def test_threads_share_one_heap(tmp_path: Path) -> None:
    assert heaps(tmp_path / "told", "untouched") > 1
    assert heaps(tmp_path / "told", "tuned") == 1
