"""A subsampling becomes the stride of the convolution behind it: one operator of a file instead of two.

`ddnn_keras.backbones.layers.convolution` says why training has both.
"""

import keras

from ddnn_keras.graph import readers


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
