"""The layers that convolutional families are made of: shared convolutions, private normalisation."""

import keras

from ddnn_keras.depths import is_positive_integer


def convolution(path, x, filters, kernel_size, strides, name, use_bias=False, one_sided=False):
    """A shared convolution, depthwise if `filters` is `None`. If there is a stride, it is padded on all sides.

    Keras' "same" pads even sizes on one side, as TensorFlow's published networks do. With `one_sided` it stays so.
    """
    padding = "same"
    if kernel_size == 1 and strides > 1:
        # The same function at the same speed. In TensorFlow 2.21 on a CPU, the gradient of a strided 1x1 convolution
        # writes out of bounds and kills the process, unless the channels are a multiple of 16.
        x, strides = keras.layers.MaxPooling2D(1, strides=strides, dtype=path.dtype)(x), 1
    if strides > 1 and not one_sided:
        x, padding = keras.layers.ZeroPadding2D(kernel_size // 2, dtype=path.dtype)(x), "valid"
    settings = {"kernel_size": kernel_size, "strides": strides, "padding": padding, "use_bias": use_bias}
    initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal", path.seed(name))
    if filters is None:
        return path.shared(keras.layers.DepthwiseConv2D, name, **settings, depthwise_initializer=initializer)(x)
    return path.shared(keras.layers.Conv2D, name, filters=filters, **settings, kernel_initializer=initializer)(x)


def normalization(path, x, name, behind_convolution=True, epsilon=1e-5):
    """A path's own batch normalisation, with torchvision's momentum and, by default, epsilon.

    Behind a convolution its scales cannot be negative. Then a file can store the weights of all depths once, because
    they differ by a positive factor for each channel (`ddnn_keras.tflite.weight_sharing`).
    """
    scale = keras.constraints.NonNeg() if behind_convolution else None
    return path.private(keras.layers.BatchNormalization, name, momentum=0.9, epsilon=epsilon, gamma_constraint=scale)(x)


def check_width(width):
    """Returns `width` as an integer, or raises a `ValueError` if it is not positive."""
    if not is_positive_integer(width):
        raise ValueError(f"`width` must be a positive integer. Received: width={width!r}")
    return int(width)


def check_stem(stem, allowed):
    """Returns `stem`, or raises a `ValueError` if it is not among the `allowed` names."""
    if stem not in allowed:
        raise ValueError(f"`stem` must be one of {', '.join(map(repr, allowed))}. Received: stem={stem!r}")
    return stem
