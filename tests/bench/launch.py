"""Run one command and write what it took as JSON: `launch.py REPORT COMMAND...`.

A process of its own, started with as little of Python as there is: Linux counts the memory of
the process that forks into the peak of the one that it becomes, so that must be a small one.
"""

import json
import os
import sys
import time

report, *command = sys.argv[1:]
started = time.monotonic()
child = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(child, 0)
measured = {
    "exit_code": os.waitstatus_to_exitcode(status),
    "wall": time.monotonic() - started,
    "cpu": usage.ru_utime + usage.ru_stime,
    "peak": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
}
with open(report, "w") as file:  # noqa: PTH123 - importing pathlib costs megabytes
    json.dump(measured, file)
