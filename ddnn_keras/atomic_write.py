"""A file gets its final name only when it is complete and checked."""

import contextlib
import csv
import json
import os
import pathlib
import tempfile


@contextlib.contextmanager
def atomic_write(path):
    """Gives a temporary path of the same suffix beside `path`, and renames it to `path` on success.

    The rename happens only if the body ends without an exception, so a killed process, a full disk or a failed
    check never leaves a partial file under the final name, and never costs the file that stood there before. Parent
    folders are made where they are missing.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A hidden folder, not a hidden file: Keras and others insist on a file's suffix and may write siblings.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        temporary = pathlib.Path(folder) / path.name
        yield temporary
        os.replace(temporary, path)


def write_json(path, content, indent=2):
    """Writes a JSON file."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=indent, allow_nan=False) + "\n")


def write_figure(path, figure, dpi=120):
    """Writes a Matplotlib figure as a PNG file."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=dpi, format="png")


def write_csv(path, headers, rows):
    """Writes a CSV file."""
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        csv.writer(file).writerows([headers, *rows])
