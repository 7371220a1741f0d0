"""Corrects the biases of an integer file: rounded weights then move the mean of no channel.

A channel's rounding errors do not cancel where inputs have a mean, as behind a ReLU. Their sum times these means goes
into the bias, layer by layer (Nagel et al. 2019, https://arxiv.org/abs/1906.04721, section 4.2). Weights, scales and
speed stay, and so do the weights that depths share.
"""

import copy

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.tflite_file import ABSENT, operators, parse, serialize
from ddnn_keras.tflite.layer_errors import traced_interpreter
from ddnn_keras.tflite.weight_sharing import Graph, drop_unused_buffers

MEASURED = 50  # calibration images, at most
DTYPES = {schema.TensorType.INT32: "int32", schema.TensorType.INT64: "int64"}


def with_corrected_biases(content, network, images):
    """The bytes of an integer file with one signature, from its bytes, the same sub-net in float32, and images."""
    if "QUANTIZE" in operators(network):  # after quantization-aware training: it has learnt with these shifts
        return content
    tree, exact_tree = parse(content), parse(network)
    graph, exact_graph = (Graph(one, one.subgraphs[0]) for one in (tree, exact_tree))
    exact_layers = exact_graph.weighted_operators()
    means = channel_means(network, [exact.operator.inputs[0] for exact in exact_layers], images)
    taken = {}
    for rounded, exact in zip(graph.weighted_operators(), exact_layers, strict=True):
        image, weights, *bias = rounded.operator.inputs
        # A layer that is kept in float32 has no integers there.
        if bias and bias[0] != ABSENT and (tensor := graph.tensors[bias[0]]).type in DTYPES:
            scale = np.multiply(graph.tensors[image].quantization.scale, rounded.tensor.quantization.scale)
            shifts = shifts_of_means(rounded, exact.values, means[exact.operator.inputs[0]])
            steps = np.rint(shifts / scale).astype(DTYPES[tensor.type])
            # Layers without a bias have one tensor of zeros together, or its buffer.
            if bias[0] in taken:
                tensor = copy.deepcopy(tensor)
                rounded.operator.inputs = [image, weights, len(graph.tensors)]
                graph.tensors.append(tensor)
            values = taken.setdefault(bias[0], np.frombuffer(tree.buffers[tensor.buffer].data, steps.dtype))
            tensor.quantization.scale, tensor.buffer = scale, len(tree.buffers)
            tree.buffers.append(schema.BufferT(data=(values - steps).view("uint8")))
    drop_unused_buffers(tree)
    return serialize(tree)


def channel_means(network, indices, images):
    """The mean of every channel of some tensors over images and positions: a dict from indices to arrays."""
    interpreter = traced_interpreter(network)
    lite, means = LiteModel(interpreter), dict.fromkeys(indices, 0.0)
    measured = np.asarray(images)[:: -(-len(images) // MEASURED)]
    for image in measured:
        lite.invoke(lite.input.encode(image[np.newaxis]))
        for index in means:
            values = interpreter.get_tensor(index)
            means[index] += values.mean(axis=tuple(range(values.ndim - 1)), dtype="float64") / len(measured)
    return means


def shifts_of_means(rounded, weights, means):
    """By how much rounding `weights` moves the mean of each output channel, for inputs with these means."""
    errors = rounded.values * np.asarray(rounded.tensor.quantization.scale)[:, np.newaxis] - weights
    # A kernel reads all input channels, those of its group, or one. At the border of images this is not exact.
    num_read = rounded.num_inputs
    groups = np.reshape(means, (-1, num_read))
    read = np.repeat(groups, len(errors) // len(groups), axis=0)
    return np.sum(errors * np.tile(read, errors.shape[1] // num_read), axis=1)
