"""What is in a `.tflite` file: each signature's operators and types, and how many bytes signatures share."""

import collections
import dataclasses

from ddnn_keras.runtime.tflite_file import TYPE_NAMES, operator_names, parse


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a file holds for one signature."""

    name: str
    inputs: dict  # from names to types and shapes, such as "INT8 (1, 16, 16, 1)"
    outputs: dict
    operators: dict  # how many there are of each kind
    types: dict  # how many bytes of constants there are of each type
    constant_bytes: int  # of weights, biases and a few shapes
    shared_bytes: int  # of the constants that another signature uses too


def inspect(model):
    """A list of the `Signature`s of a file, a path or bytes."""
    tree = parse(model)
    users = collections.Counter(buffer for graph in tree.subgraphs for buffer in constants(tree, graph))
    return [signature(tree, definition, users) for definition in tree.signatureDefs or []]


def constants(tree, graph):
    """The buffers of a graph that hold numbers, and the types of the tensors that read them: a dict."""
    return {
        tensor.buffer: TYPE_NAMES[tensor.type]
        for tensor in graph.tensors
        if tree.buffers[tensor.buffer].data is not None and len(tree.buffers[tensor.buffer].data)
    }


def signature(tree, definition, users):
    """A `Signature`. `users` has the number of graphs that use a buffer."""
    graph = tree.subgraphs[definition.subgraphIndex]
    types, shared = collections.Counter(), 0
    for buffer, kind in constants(tree, graph).items():
        size = len(tree.buffers[buffer].data)
        types[kind] += size
        shared += size if users[buffer] > 1 else 0
    return Signature(
        name=definition.signatureKey.decode(),
        inputs=ends(graph, definition.inputs),
        outputs=ends(graph, definition.outputs),
        operators=dict(collections.Counter(operator_names(tree, graph))),
        types=dict(types),
        constant_bytes=sum(types.values()),
        shared_bytes=shared,
    )


def ends(graph, maps):
    """The types and shapes of a signature's inputs or outputs, by name."""
    tensors = {entry.name.decode(): graph.tensors[entry.tensorIndex] for entry in maps}
    return {
        name: f"{TYPE_NAMES[tensor.type]} ({', '.join(map(str, tensor.shape))})" for name, tensor in tensors.items()
    }
