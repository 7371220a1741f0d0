"""Copies of a sub-net for its file: in the float32 that devices compute in, and with strides where they belong."""

import keras
import numpy as np

from ddnn_keras.network.graph import readers
from ddnn_keras.pixels import in_batches


def in_float32(subnet):
    """Copies a model with every layer computing in float32.

    Under a mixed policy the variables are float32 already, and only the casts between layers go.

    Args:
        subnet: A functional `keras.Model` of any dtype policy. It is not changed.

    Returns:
        A functional `keras.Model` with variables of its own.

    Example:
    >>> import keras
    >>> image = keras.Input((4, 4, 1))
    >>> model = keras.Model(image, keras.layers.Conv2D(2, 3, dtype="mixed_bfloat16")(image))
    >>> in_float32(model).layers[-1].compute_dtype
    'float32'
    """
    copy = keras.models.clone_model(subnet, clone_function=_float32_operation, recursive=True)
    copy.set_weights(subnet.get_weights())
    return copy


def _float32_operation(operation):
    config = operation.get_config()
    # What is no layer (`x + y` on symbolic tensors) has no policy: it follows its inputs.
    dtype = {"dtype": "float32"} if isinstance(operation, keras.Layer) else {}
    return type(operation).from_config({**config, **dtype})


def float32_logits(subnet, images):
    """What a file is verified against: the model's outputs in float32.

    A mixed policy's own outputs would not do: bfloat16 alone moves the logits of a tiny network by 1 part in 200, which
    would hide real errors. Nor would a GPU's, whose convolutions round float32 to TensorFloat-32 (10 bits of mantissa)
    by default; hence the CPU.

    Args:
        subnet: A functional `keras.Model` of any dtype policy.
        images: A float32 array of shape `(n, height, width, channels)`.

    Returns:
        A float32 array of shape `(n, classes)`.
    """
    with keras.device("cpu:0"):
        model = in_float32(subnet)
        logits = [keras.ops.convert_to_numpy(model(batch, training=False)) for batch in in_batches(images)]
        return np.concatenate(logits)


def with_strides(model):
    """A copy of a model in which 1x1 convolutions do the subsampling before them.

    Args:
        model: A functional `keras.Model` from one tensor to one. It is not changed.

    Returns:
        A functional `keras.Model` that computes the same, with variables of its own.

    Example:
    >>> import keras
    >>> image = keras.Input((4, 4, 1))
    >>> x = keras.layers.MaxPooling2D(1, strides=2)(image)
    >>> model = keras.Model(image, keras.layers.Conv2D(2, 1)(x))
    >>> [type(layer).__name__ for layer in with_strides(model).layers]
    ['InputLayer', 'Conv2D']
    """
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
        return type(layer).from_config(config)

    def call(layer, *args, **kwargs):
        return args[0] if layer.name in subsamplings else layer(*args, **kwargs)

    # Of a plain functional model: Keras clones no Sequential this way.
    functional = keras.Model(model.inputs[0], model.outputs[0])
    copy = keras.models.clone_model(functional, clone_function=clone, call_function=call)
    # By name: without some layers, Keras may put those that are left into another order.
    for layer in copy.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return copy


def is_subsampling(layer):
    """Whether a layer picks positions, and nothing else."""
    return isinstance(layer, keras.layers.MaxPooling2D) and layer.pool_size == (1, 1)


def is_1x1_convolution(layer):
    """Whether a layer, or the one that it wraps, is a 1x1 convolution without strides."""
    layer = layer.layer if isinstance(layer, keras.layers.Wrapper) else layer
    return isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == layer.strides == (1, 1)
