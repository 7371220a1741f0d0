"""Shows what is in a .tflite file: signatures, types, operators, shared bytes, and its description.

For example:

    python export/inspect_tflite.py bundle_int8.tflite
"""

import argparse
import collections
import json
import pathlib

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ddnn_keras.command_line import ArgumentParser, run
from ddnn_keras.runtime.metadata import metadata_if_any
from ddnn_keras.runtime.tflite_file import TYPE_NAMES, operator_names, parse

parser = ArgumentParser(__doc__)
parser.add_argument("model", help="a .tflite file", default=argparse.SUPPRESS)


def main(arguments):
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


def inspect(model):
    """What a file, a path or bytes, holds for each signature: a dict of dicts.

    `input` and `output` have types and shapes such as `"INT8 (1, 16, 16, 1)"`, `constants` the bytes of weights, biases
    and a few shapes, `shared` those that another signature uses too, `types` the bytes of each type.
    """
    tree, found = parse(model), {}
    users = collections.Counter(buffer for graph in tree.subgraphs for buffer in constants(tree, graph))
    for definition in tree.signatureDefs or []:
        graph = tree.subgraphs[definition.subgraphIndex]
        types, shared = collections.Counter(), 0
        for buffer, kind in constants(tree, graph).items():
            size = len(tree.buffers[buffer].data)
            types[kind] += size
            shared += size if users[buffer] > 1 else 0
        found[definition.signatureKey.decode()] = {
            "input": ends(graph, definition.inputs),
            "output": ends(graph, definition.outputs),
            "constants": types.total(),
            "shared": shared,
            "types": dict(types),
            "operators": dict(collections.Counter(operator_names(tree, graph))),
        }
    return found


def constants(tree, graph):
    """The buffers of a graph that hold numbers, and the types of the tensors that read them: a dict."""
    return {
        tensor.buffer: TYPE_NAMES[tensor.type]
        for tensor in graph.tensors
        if tree.buffers[tensor.buffer].data is not None and len(tree.buffers[tensor.buffer].data)
    }


def ends(graph, maps):
    """The types and shapes of a signature's inputs or outputs, by name."""
    tensors = {entry.name.decode(): graph.tensors[entry.tensorIndex] for entry in maps}
    return {name: f"{TYPE_NAMES[one.type]} ({', '.join(map(str, one.shape))})" for name, one in tensors.items()}


def cell(found):
    """A number of bytes, or a dict as lines."""
    if isinstance(found, int):
        return f"{found:,} bytes"
    lines = (f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}" for name, value in found.items())
    return "\n".join(lines)


if __name__ == "__main__":
    run(main, parser)
