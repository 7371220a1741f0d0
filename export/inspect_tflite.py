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
from ddnn_keras.runtime.metadata import read_metadata

parser = ArgumentParser(__doc__)
parser.add_argument("model", help="a .tflite file", default=argparse.SUPPRESS)
parser.add_argument("--json", action="store_true", help="the description in the file as JSON, and nothing else")


def main(arguments):
    """Prints the file's contents."""
    if arguments.json:
        print(json.dumps(read_metadata(arguments.model), indent=2))
        return
    signatures = inspect(arguments.model)
    table = Table(title=f"{escape(arguments.model)}, {pathlib.Path(arguments.model).stat().st_size:,} bytes")
    table.add_column("")
    rows = {
        "input": [lines(signature.inputs) for signature in signatures],
        "output": [lines(signature.outputs) for signature in signatures],
        "constants": [f"{signature.constant_bytes:,} bytes" for signature in signatures],
        "shared": [f"{signature.shared_bytes:,} bytes" for signature in signatures],
        "types": [lines(signature.types) for signature in signatures],
        "operators": [lines(signature.operators) for signature in signatures],
    }
    for signature in signatures:
        table.add_column(signature.name)
    for name, cells in rows.items():
        table.add_row(name, *cells)
    Console().print(table)
    try:
        facts = read_metadata(arguments.model)
    except ValueError:
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


def lines(entries):
    """A dict as the lines of a cell."""
    return "\n".join(
        f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}" for name, value in entries.items()
    )


if __name__ == "__main__":
    run(main, parser)
