"""Copies of a sub-net in float32, as its file computes."""

import keras
import numpy as np

from ddnn_keras.network.graph import copy_layer_weights
from ddnn_keras.pixels import in_batches


def in_float32(subnet, mark=""):
    """A copy of a functional model in which every layer computes in float32, with names that end in `mark`."""

    def clone(operation):
        # Operations such as `x + y` on symbolic tensors have no policy. They follow their inputs.
        dtype = {"dtype": "float32"} if isinstance(operation, keras.Layer) else {}
        return type(operation).from_config({**operation.get_config(), **dtype, "name": operation.name + mark})

    copy = keras.models.clone_model(subnet, clone_function=clone, recursive=True)
    for layer, source in zip(copy.layers, subnet.layers, strict=True):
        copy_layer_weights(source, layer)
    return copy


def float32_logits(subnet, images):
    """The model's outputs in float32 on the CPU: the reference that a file is verified against.

    A mixed policy's own outputs are rounded, which would hide real errors. GPUs round float32 convolutions to 10 bits
    of mantissa (TensorFloat-32) by default.
    """
    with keras.device("cpu:0"):
        model = in_float32(subnet)
        logits = [keras.ops.convert_to_numpy(model(batch, training=False)) for batch in in_batches(images)]
        return np.concatenate(logits)
