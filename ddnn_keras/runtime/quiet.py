"""Keeps the converter's log off the terminal."""

import contextlib
import os
import tempfile
import threading
import warnings

# Of two that overlap, the one that ends last would restore what the other had put in the place of standard error.
ONE_AT_A_TIME = threading.RLock()


@contextlib.contextmanager
def hushed():
    """Drops what is written to standard error, or shows all of it if the body meets a bug.

    A `ValueError` or `OSError` is no bug: it says itself what the user can do.

    The converter writes some 20 lines per file from C++, of which none is for the user, and their level can only be
    set before TensorFlow is imported. So this works on the file descriptor, for all threads of the process, which take
    turns in it.

    `TF_CPP_MIN_LOG_LEVEL=0` in the environment, with which one asks TensorFlow for its log, switches it off.

    Example:
    >>> import os
    >>> with hushed():
    ...     _ = os.write(2, b"I0000 00:00 loader.cc:236] Restoring SavedModel bundle.")
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        yield
        return
    with ONE_AT_A_TIME, tempfile.TemporaryFile() as log, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _standard_error_to(log):
                yield
        except (ValueError, OSError):
            raise
        except Exception:
            log.seek(0)
            os.write(2, log.read())
            raise


@contextlib.contextmanager
def _standard_error_to(file):
    terminal = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
