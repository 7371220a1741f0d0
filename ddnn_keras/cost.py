"""What a network costs a device: parameters and multiply-accumulates."""

import math


def count_parameters(model):
    """Number of trainable parameters, the figure that papers give.

    Args:
        model: A built `keras.Model`, such as `DDNN.subnet(18)`.

    Returns:
        An integer.
    """
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def count_macs(model):
    """Number of multiply-accumulates that one image takes in convolutions and dense layers.

    Args:
        model: A functional `keras.Model` in which each layer is called once, such as `DDNN.subnet(18)`.

    Returns:
        An integer. Each position of a layer's output takes one multiply-accumulate for each element of its kernel.

    Example:
    >>> import keras
    >>> image = keras.Input((8, 8, 3))
    >>> count_macs(keras.Model(image, keras.layers.Conv2D(4, 3, padding="same")(image)))  # 8 * 8 * 3 * 3 * 3 * 4
    6912
    """
    weighted = [layer for layer in model.layers if hasattr(layer, "kernel")]
    return sum(math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape) for layer in weighted)
