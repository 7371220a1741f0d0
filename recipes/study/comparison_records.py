"""The runs in `results.json`: what was trained, with what, and what came out of it."""

import json
import os

from ddnn_keras.atomic_write import write_json
from ddnn_keras.runs.arguments import DEVICES, argument_parser

# Where the data lies on this machine says nothing about a run.
OF_THIS_MACHINE = {"data_dir", "manual_dir"}


def read_records(output):
    """The runs in `results.json`: a list of dicts."""
    path = output / "results.json"
    return json.loads(path.read_text())["runs"] if path.exists() else []


def read_comparison(folder):
    """The runs of a comparison that must exist."""
    if not (folder / "results.json").is_file():
        raise FileNotFoundError(f"FOLDER must have a results.json of compare.py. Received: {folder}")
    return read_records(folder)


def write_records(output, records):
    """Writes `results.json` in the order of names, since the order in which runs end is chance."""
    write_json(output / "results.json", {"runs": sorted(records, key=lambda record: record["name"])}, indent=1)


def made_with(record):
    """What a run was made with: all arguments of train.py but those of this machine, and the backend."""
    # Published records lack the arguments that came later. Their defaults change nothing.
    defaults = portable(vars(argument_parser("").parse_args([])))
    return {**defaults, **record["arguments"], "backend": record["backend"]}


def portable(arguments):
    """The arguments without those of this machine, and without the folder of a data set."""
    local = {*OF_THIS_MACHINE, *DEVICES, "output", "resume"}
    kind, colon, path = arguments["dataset"].partition(":")
    dataset = kind + colon + os.path.basename(path.rstrip("/"))
    return {**{name: value for name, value in arguments.items() if name not in local}, "dataset": dataset}
