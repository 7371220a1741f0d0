"""The layers with weights that convolutional families are made of: shared convolutions, private normalisation."""

import keras


def convolution(path, x, filters, kernel_size, strides, name):
    """A shared convolution without bias. Strided ones pad both sides alike, as the published weights expect."""
    padding = kernel_size // 2
    if strides > 1 and padding:
        x = keras.layers.ZeroPadding2D(padding, dtype=path.dtype)(x)
    if kernel_size == 1 and strides > 1:
        # Picks the positions first, which is the same function at the same speed. In TensorFlow 2.21 on a CPU, the
        # gradient of a strided 1x1 convolution writes out of bounds where the batch is odd and the channels are no
        # multiple of 16, and kills the process.
        x, strides = keras.layers.MaxPooling2D(1, strides=strides, dtype=path.dtype)(x), 1
    return path.shared(
        keras.layers.Conv2D,
        name,
        filters=filters,
        kernel_size=kernel_size,
        strides=strides,
        padding="valid" if strides > 1 else "same",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal", path.seed(name)),
    )(x)


def normalization(path, x, name):
    """A path's own batch normalisation, with torchvision's momentum and epsilon."""
    return path.private(keras.layers.BatchNormalization, name, momentum=0.9, epsilon=1e-5)(x)
