"""Keeps two processes from writing one folder: a second one would train a network twice, and mix up its files."""

import pathlib

import filelock

LOCK = ".lock"


def one_at_a_time(folder):
    """A context in which no other process can have the same folder. It ends with the process, however that ends.

    Args:
        folder: The folder; it is made if it does not exist.

    Raises:
        ValueError: If another process has it.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return filelock.FileLock(folder / LOCK).acquire(blocking=False)
    except filelock.Timeout:
        raise ValueError(f"{folder} is being written by another process.") from None
