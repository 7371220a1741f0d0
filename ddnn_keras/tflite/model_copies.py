"""Copies of a sub-net for its file: in float32, and with subsampling as a convolution's stride."""

import keras
import numpy as np

from ddnn_keras.network.graph import copy_layer_weights, readers
from ddnn_keras.pixels import in_batches


def in_float32(subnet):
    """A copy of a functional model in which every layer computes in float32."""
    copy = keras.models.clone_model(subnet, clone_function=_float32_operation, recursive=True)
    for layer, source in zip(copy.layers, subnet.layers, strict=True):
        copy_layer_weights(source, layer)
    return copy


def _float32_operation(operation):
    config = operation.get_config()
    # Operations such as `x + y` on symbolic tensors have no policy. They follow their inputs.
    dtype = {"dtype": "float32"} if isinstance(operation, keras.Layer) else {}
    return type(operation).from_config({**config, **dtype})


def float32_logits(subnet, images):
    """The model's outputs in float32 on the CPU: the reference that a file is verified against.

    A mixed policy's own outputs are rounded, which would hide real errors. GPUs round float32 convolutions to 10 bits
    of mantissa (TensorFloat-32) by default.
    """
    with keras.device("cpu:0"):
        model = in_float32(subnet)
        logits = [keras.ops.convert_to_numpy(model(batch, training=False)) for batch in in_batches(images)]
        return np.concatenate(logits)


def with_strides(model, mark=""):
    """A copy, with `mark` behind its layers' names, whose 1x1 convolutions have a stride in place of subsampling."""
    behind = readers(model.outputs)
    subsamplings = {
        layer.name: layer.strides
        for layer in model.layers
        if is_subsampling(layer) and all(map(is_1x1_convolution, behind.get(layer.name, [None])))
    }
    strides = {reader.name: stride for name, stride in subsamplings.items() for reader in behind[name]}

    def clone(layer):
        config = layer.get_config()
        inner = config["layer"]["config"] if isinstance(layer, keras.layers.Wrapper) else config
        if layer.name in strides:
            inner["strides"] = strides[layer.name]
        return type(layer).from_config({**config, "name": layer.name + mark})

    def call(layer, *args, **kwargs):
        return args[0] if layer.name.removesuffix(mark) in subsamplings else layer(*args, **kwargs)

    # Keras does not clone a Sequential model this way.
    functional = keras.Model(model.inputs[0], model.outputs[0])
    copy = keras.models.clone_model(functional, clone_function=clone, call_function=call)
    # By name, since Keras may order the layers in another way when some are missing.
    for layer in copy.layers:
        if layer.weights:
            copy_layer_weights(model.get_layer(layer.name.removesuffix(mark)), layer)
    return copy


def is_subsampling(layer):
    """Whether a layer only picks positions."""
    return isinstance(layer, keras.layers.MaxPooling2D) and layer.pool_size == (1, 1)


def is_1x1_convolution(layer):
    """Whether a layer, or the layer in its wrapper, is a 1x1 convolution without strides."""
    layer = layer.layer if isinstance(layer, keras.layers.Wrapper) else layer
    return isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == layer.strides == (1, 1)
