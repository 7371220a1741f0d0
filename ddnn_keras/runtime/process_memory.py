"""How much memory this process takes."""

import math
import pathlib

STATUS = pathlib.Path("/proc/self/status")


def memory_now():
    """The process's memory in bytes, or NaN where there is no Linux to ask."""
    return _bytes("VmRSS")


def peak_memory():
    """The most that it ever was.

    Not from `resource.getrusage`, whose peak a process inherits from the one that started it.
    """
    return _bytes("VmHWM")


def _bytes(name):
    if not STATUS.exists():
        return math.nan
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])
