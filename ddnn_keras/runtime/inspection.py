"""What is in a `.tflite` file: each signature's operators and types, and how many bytes they share."""

import collections
import dataclasses

from ddnn_keras.runtime.tflite_file import operator_names, parse, type_names


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a file holds for one signature.

    Args:
        name: Its name.
        inputs: A dict from names of inputs to their types and shapes, such as `"INT8 (1, 16, 16, 1)"`.
        outputs: Likewise.
        operators: How many operators there are of each kind, a dict.
        types: How many bytes of constants there are of each type, a dict.
        constant_bytes: The bytes of all constants: weights, biases and a few shapes.
        shared_bytes: How many of them another signature uses too.
    """

    name: str
    inputs: dict
    outputs: dict
    operators: dict
    types: dict
    constant_bytes: int
    shared_bytes: int


def inspect(model):
    """Lists the signatures of a file.

    Args:
        model: The path of a `.tflite` file, or its bytes.

    Returns:
        A list of `Signature`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a whole TFLite file.
    """
    tree = parse(model)
    users = collections.Counter(buffer for graph in tree.subgraphs for buffer in constants(tree, graph))
    return [signature(tree, definition, users) for definition in tree.signatureDefs or []]


def constants(tree, graph):
    """The buffers of a graph that hold numbers, and the types of the tensors that read them: a dict."""
    return {
        tensor.buffer: type_names()[tensor.type]
        for tensor in graph.tensors
        if tree.buffers[tensor.buffer].data is not None and len(tree.buffers[tensor.buffer].data)
    }


def signature(tree, definition, users):
    """A `Signature`; `users` counts for each buffer how many graphs use it."""
    graph = tree.subgraphs[definition.subgraphIndex]
    types, shared = collections.Counter(), 0
    for buffer, kind in constants(tree, graph).items():
        size = len(tree.buffers[buffer].data)
        types[kind] += size
        shared += size if users[buffer] > 1 else 0
    return Signature(
        name=text(definition.signatureKey),
        inputs=ends(graph, definition.inputs),
        outputs=ends(graph, definition.outputs),
        operators=dict(collections.Counter(operator_names(tree, graph))),
        types=dict(types),
        constant_bytes=sum(types.values()),
        shared_bytes=shared,
    )


def ends(graph, maps):
    """The types and shapes of a signature's inputs or outputs, by name."""
    tensors = {text(entry.name): graph.tensors[entry.tensorIndex] for entry in maps}
    return {
        name: f"{type_names()[tensor.type]} ({', '.join(map(str, tensor.shape))})" for name, tensor in tensors.items()
    }


def text(name):
    """A name of the schema, which has bytes where it was read and text where it was set."""
    return name.decode() if isinstance(name, bytes) else name
