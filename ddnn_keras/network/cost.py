"""What a network costs a device: parameters and multiply-accumulates."""

import math

from ddnn_keras.network.graph import nodes_before

KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")  # the latter two of separable convolutions


def count_parameters(model):
    """Number of trainable parameters of a built `keras.Model`, as papers count them."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def count_macs(model):
    """Number of multiply-accumulates of convolutions and dense layers for one image.

    Each position of a layer's output counts every element of the kernel once. A shared layer counts as often as it is
    called.

    Example:
    >>> import keras
    >>> image = keras.Input((8, 8, 3))
    >>> count_macs(keras.Model(image, keras.layers.Conv2D(4, 3, padding="same")(image)))  # 8 * 8 * 3 * 3 * 3 * 4
    6912
    """
    return sum(map(macs_of_call, nodes_before(model.outputs)))


def macs_of_call(node):
    """Multiply-accumulates of one call of a layer, a Keras node."""
    kernels = [getattr(node.operation, name) for name in KERNELS if hasattr(node.operation, name)]
    return math.prod(node.output_tensors[0].shape[1:-1]) * sum(math.prod(kernel.shape) for kernel in kernels)
