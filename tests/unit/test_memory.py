"""What the C library and the garbage collector do, told by themselves in a process of their own."""

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

COLLECTOR = """
import gc
from ingest.memory import importing
with importing():
    assert not gc.isenabled()
    import ingest.bootstrap
print(gc.isenabled(), any(each is vars(ingest.bootstrap) for each in gc.get_objects()))
try:
    with importing():
        import ingest.nowhere
except ImportError:
    print(gc.isenabled())
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


def test_the_garbage_collector_rests_while_modules_are_imported_and_passes_over_them() -> None:
    ran = subprocess.run([sys.executable, "-c", COLLECTOR], check=True, capture_output=True)
    assert ran.stdout.split() == [b"True", b"False", b"True"]
