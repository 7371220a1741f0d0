"""Which layer of a network an operator of its file comes from."""

import re

from ddnn_keras.network.graph import has_kernel
from ddnn_keras.runtime.tflite_file import operator_names

# Behind the names of layers in a graph that is converted. TensorFlow writes `conv2d_1` for a second `conv2d`, which
# could be another layer.
MARK = "-layer"
# These only change how numbers are stored.
CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL")
OUTPUT = "logits"


def named_operators(tree, graph, subnet):
    """The operators of a parsed graph but for conversions: a dict from names, in the file's order.

    The first operator with a layer's weights has its name, such as `stage1_block1_conv1`, and the last one is `logits`.
    Another one is named after its layer or the one before, such as `stage1_block1_conv2 ADD`.
    """
    layers = {layer.name for layer in subnet.layers if has_kernel(layer)}
    kinds = operator_names(tree, graph)
    computing = [(kind, operator) for kind, operator in zip(kinds, graph.operators) if kind not in CONVERSIONS]
    named, last = {}, "image"
    for kind, operator in computing:
        output = graph.tensors[operator.outputs[0]]
        # Such as functional_1/re_lu-layer_1/Relu;functional_1/stem_conv-layer_1/convolution.
        scopes = re.findall(rf"([^/;]+){MARK}(?:_\d+)?/", output.name.decode()) if kind in WEIGHTED else []
        last = next((scope for scope in scopes if scope in layers), last)
        name = f"{last} {kind}" if kind not in WEIGHTED or last in named else last
        name = OUTPUT if operator is computing[-1][1] else name
        while name in named:
            name += "'"
        named[name] = operator
    return named
