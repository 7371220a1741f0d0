"""Keeps two processes from writing one folder: a second one would train a network twice, and mix up its files."""

import pathlib

import filelock


def one_at_a_time(folder):
    """A context in which no other process can have the same folder, which is made if it does not exist."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return filelock.FileLock(folder / ".lock").acquire(blocking=False)
    except filelock.Timeout:
        raise ValueError(f"{folder} is being written by another process.") from None
