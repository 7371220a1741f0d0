"""Shows what is in a .tflite file: signatures, types, operators, shared bytes, and its description.

For example:

    python export/inspect_tflite.py bundle_int8.tflite
"""

import argparse
import json
import pathlib

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ddnn_keras.command_line import ArgumentParser, run
from ddnn_keras.runtime.inspection import inspect
from ddnn_keras.runtime.metadata import metadata_if_any, read_metadata

parser = ArgumentParser(__doc__)
parser.add_argument("model", help="a .tflite file", default=argparse.SUPPRESS)
parser.add_argument("--json", action="store_true", help="the description in the file as JSON, and nothing else")


def main(arguments):
    """Prints the file's contents."""
    if arguments.json:
        print(json.dumps(read_metadata(arguments.model), indent=2))
        return
    signatures = inspect(arguments.model)
    title = f"{escape(arguments.model)}, {pathlib.Path(arguments.model).stat().st_size:,} bytes"
    table = Table("", *signatures, title=title)
    for row in ("input", "output", "constants", "shared", "types", "operators"):
        table.add_row(row, *(cell(found[row]) for found in signatures.values()))
    Console().print(table)
    if not (facts := metadata_if_any(arguments.model)):
        print("The file has no description and no digest.")
        return
    names = ("quantize", "keep", "source", "versions", "calibration", "labels")
    for name, value in {name: facts[name] for name in names if facts.get(name)}.items():
        print(f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
    for name, found in facts.get("signatures", {}).items():
        numbers = found["verification"]
        print(
            f"{name}: {numbers['accuracy']:.2%} accurate on {numbers['num_images']} images "
            f"(Keras {numbers['keras_accuracy']:.2%}), the same class on {numbers['argmax_agreement']:.2%}"
        )


def cell(found):
    """A number of bytes, or a dict as lines."""
    if isinstance(found, int):
        return f"{found:,} bytes"
    lines = (f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}" for name, value in found.items())
    return "\n".join(lines)


if __name__ == "__main__":
    run(main, parser)
