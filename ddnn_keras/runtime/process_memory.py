"""How much memory this process takes."""

import math
import pathlib

STATUS = pathlib.Path("/proc/self/status")


def process_memory(peak=False):
    """The process's memory in bytes, now or at its peak, or NaN where there is no Linux to ask.

    Not from `resource.getrusage`, whose peak a process inherits from the one that started it.
    """
    if not STATUS.exists():
        return math.nan
    name = "VmHWM" if peak else "VmRSS"
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])
