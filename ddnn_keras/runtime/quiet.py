"""Keeps the logs of TensorFlow and LiteRT off the terminal."""

import atexit
import contextlib
import os
import sys
import threading
import warnings

# Two that overlap would leave standard error at the wrong place.
ONE_AT_A_TIME = threading.RLock()


@contextlib.contextmanager
def hushed():
    """Drops what any thread of this process writes to standard error, and Python's warnings.

    TensorFlow, its converter and LiteRT write their logs from C++, and no setting stops all of them. Whoever wants to
    read these logs sets `TF_CPP_MIN_LOG_LEVEL=0` in the environment, which switches this off.
    """
    # A service or an app without a terminal may have no standard error.
    if wants_logs() or sys.__stderr__ is None:
        yield
        return
    with ONE_AT_A_TIME, warnings.catch_warnings(action="ignore"), open(os.devnull, "wb") as nowhere:
        terminal = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def hush_the_end():
    """Drops what C++ writes to standard error when this process ends."""
    if not wants_logs():
        atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2))


def wants_logs():
    """Whether the user wants to read all logs."""
    return os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0"
