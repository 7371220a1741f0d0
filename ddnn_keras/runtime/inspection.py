"""What is in a `.tflite` file: each signature's operators and types, and how many bytes signatures share."""

import collections

from ddnn_keras.runtime.tflite_file import TYPE_NAMES, operator_names, parse


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
