"""Which layer of a network an operator of its file comes from."""

import re

from ddnn_keras.runtime.tflite_file import operator_names

# These only change how numbers are stored.
CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
OUTPUT = "logits"


def named_operators(tree, graph, subnet):
    """The operators of a parsed graph but for conversions: a dict from names, in the file's order.

    An operator with weights has its layer's name, such as `stage1_block1_conv1`, and the last one is `logits`. Another
    one is named after the layer before, such as `stage1_block1_conv2 ADD`.
    """
    layers = sorted((layer.name for layer in subnet.layers), key=len, reverse=True)
    kinds = operator_names(tree, graph)
    computing = [(kind, operator) for kind, operator in zip(kinds, graph.operators) if kind not in CONVERSIONS]
    named, last = {}, "image"
    for kind, operator in computing:
        output = graph.tensors[operator.outputs[0]]
        # Such as functional_1/re_lu_1/Relu;functional_1/stem_conv_1/convolution, where TensorFlow adds the last _1.
        scopes = re.findall(r"([^/;]+)/(?:convolution|depthwise|MatMul)", output.name.decode())
        owners = (layer for layer in layers for scope in scopes if re.fullmatch(rf"{re.escape(layer)}(_\d+)?", scope))
        if owner := next(owners, None):
            last = owner
        name = OUTPUT if operator is computing[-1][1] else owner or f"{last} {kind}"
        while name in named:
            name += "'"
        named[name] = operator
    return named
